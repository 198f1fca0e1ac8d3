"""The HTTP API of a Prometheus-compatible server: what is asked, and how replies are read. Bounded in bytes and seconds."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from yarl import URL

from engine.model.labels import Labels
from engine.promql import Matrix, Points, Result, Scalar, Text, Vector
from engine.promql.literals import print_duration
from engine.sources.fetcher import body
from engine.sources.page import NUMBER, NUMBER_LENGTH
from engine.sources.side_by_side import REASON_LENGTH, Job, Outcome, Refused, SideBySide

CONNECTIONS: Final = 16
"""Requests under way at once: Prometheus evaluates 20 and lets others wait."""
MAX_BYTES: Final = 32 << 20
LATEST: Final = 1e12
"""Seconds since the epoch that no sample's time is beyond."""
TOKEN_BYTES: Final = 64 << 10
OK: Final = 200
_SURROGATE: Final = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result, in the server's own words where it has any; `kind` is what it calls the error."""

    words: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """An expression at an instant (milliseconds); `lookback`, in milliseconds, overrides how old a sample may be."""

    expr: str
    at: int
    lookback: int | None = None

    def form(self, timeout: float) -> dict[str, str]:
        """Return the parameters of the request."""
        form = {
            "query": self.expr,
            "time": f"{self.at / 1000:.3f}",
            "timeout": print_duration(round(timeout * 1000)),
            "partial_response": "false",  # Thanos would leave out what a store did not answer
        }
        if self.lookback is not None:
            form["lookback_delta"] = print_duration(self.lookback)
        return form


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server is, and whether `lookback_delta` means something to it."""

    product: str
    version: str
    lookback: bool


@dataclass(frozen=True, slots=True)
class Raw:
    """A reply as it came."""

    status: int
    reason: str
    data: bytes


class QueryApi:
    """Asks one server. Thread-safe.

    User and password in `url` are sent as basic authentication and shown nowhere; the token in `token_file` is read again for each
    round. Nothing goes through a proxy that the environment names unless `environment_proxy`; redirects are refused.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        headers: Mapping[str, str],
        token_file: Path | None,
        environment_proxy: bool,
        max_bytes: int,
    ) -> None:
        whole = URL(url)
        if whole.scheme not in ("http", "https") or not whole.host:
            raise ValueError("a Prometheus server has an http:// or https:// address")
        self._url = whole.with_user(None).with_query(None).with_fragment(None)
        self._headers = {"User-Agent": "mendbook", "Accept-Encoding": "gzip", **headers}
        if whole.user is not None:
            pair = f"{whole.user}:{whole.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._timeout = timeout
        self._token_file = token_file
        self._environment_proxy = environment_proxy
        self._max_bytes = max_bytes
        self._mutex = threading.Lock()
        self._running: tuple[SideBySide, aiohttp.ClientSession] | None = None

    @property
    def address(self) -> str:
        """Where the server is, without user and password."""
        return str(self._url).rstrip("/")

    def ask(self, asks: Iterable[Ask]) -> dict[Ask, Result | Failure]:
        """Return what the server says to each, asked side by side, within the time that one may take."""
        forms = {one: (("api", "v1", "query"), one.form(self._timeout)) for one in asks}
        return {one: self._result(one, outcome) for one, outcome in self._round(forms).items()}

    def abilities(self) -> Abilities | Failure:
        """Return what the server is and can do."""
        outcomes = self._round(
            {
                "build": (("api", "v1", "status", "buildinfo"), None),
                # a server that knows the parameter refuses what is no duration
                "lookback": (("api", "v1", "query"), {"query": "1", "lookback_delta": "none"}),
            }
        )
        lookback = outcomes["lookback"]
        if lookback.result is None or lookback.result.status not in (OK, 400, 422):
            reply = self._said(lookback)
            return reply if isinstance(reply, Failure) else Failure(f"{self.address}: no query API")
        said = self._said(outcomes["build"])
        build = said if isinstance(said, Mapping) else {}
        version = build.get("version")
        product = build.get("application") or ("Prometheus" if build.get("revision") else "a server like Prometheus")
        known = version if isinstance(version, str) else "of unknown version"
        return Abilities(str(product)[:REASON_LENGTH], known[:REASON_LENGTH], lookback.result.status != OK)

    def metrics(self) -> frozenset[str] | Failure:
        """Return the names of the metrics that the server has."""
        outcomes = self._round({"names": (("api", "v1", "label", "__name__", "values"), None)})
        said = self._said(outcomes["names"])
        if isinstance(said, Failure):
            return said
        names = said if isinstance(said, list) else ()
        return frozenset(name for name in names if isinstance(name, str))

    def close(self) -> None:
        """End the connections and the thread that serves them."""
        with self._mutex:
            running, self._running = self._running, None
        if running is not None:
            side_by_side, session = running
            side_by_side.call(session.close())
            side_by_side.close()

    def _round(self, forms: Mapping[Any, tuple[Sequence[str], dict[str, str] | None]]) -> dict[Any, Outcome[Raw]]:
        """Return what came of each request; the order is that of `forms`."""
        if not forms:
            return {}
        try:
            headers = self._authorization()
        except (OSError, ValueError) as wrong:
            reason = wrong.strerror if isinstance(wrong, OSError) else str(wrong)
            return dict.fromkeys(forms, Outcome(None, f"the token file {self._token_file}: {reason}", 0.0))
        side_by_side, session = self._begun()
        jobs = {
            key: Job(partial(self._request, session, path, form, headers), self._timeout)
            for key, (path, form) in forms.items()
        }
        outcomes = dict(side_by_side.round(jobs))
        return {key: outcomes[key] for key in forms}

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        with self._token_file.open("rb") as file:
            token = file.read(TOKEN_BYTES).decode("ascii", "replace").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise ValueError("holds no token" if not token else "a token is one line of ASCII")
        return {"Authorization": f"Bearer {token}"}

    def _begun(self) -> tuple[SideBySide, aiohttp.ClientSession]:
        with self._mutex:
            if self._running is None:
                side_by_side = SideBySide("prometheus")
                self._running = side_by_side, side_by_side.call(self._open())
            return self._running

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ttl_dns_cache=60, resolver=aiohttp.ThreadedResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None),  # each job has its own
            auto_decompress=False,  # by hand, so that a small answer cannot grow beyond all bounds
            trust_env=self._environment_proxy,
        )

    async def _request(
        self, session: aiohttp.ClientSession, path: Sequence[str], form: dict[str, str] | None, headers: dict[str, str]
    ) -> Raw:
        method = "GET" if form is None else "POST"
        url = self._url.joinpath(*path)
        async with session.request(method, url, data=form, headers=headers, allow_redirects=False) as response:
            if 300 <= response.status < 400:  # noqa: PLR2004
                there = response.headers.get("Location", "nowhere")
                raise Refused(f"redirects to {there}: name the address that answers itself")
            return Raw(response.status, response.reason or "", await body(response, self._max_bytes))

    def _result(self, one: Ask, outcome: Outcome[Raw]) -> Result | Failure:
        said = self._said(outcome)
        if isinstance(said, Failure):
            return said
        try:
            return read_result(said, one.at)
        except Refused as wrong:
            return Failure(f"{self.address}: {wrong}")

    def _said(self, outcome: Outcome[Raw]) -> object:
        """Return the `data` of a reply, or a Failure."""
        if outcome.result is None:
            return Failure(f"{self.address}: {outcome.error}")
        try:
            return read_reply(outcome.result)
        except Refused as wrong:
            return Failure(f"{self.address}: {wrong}")


def read_reply(raw: Raw) -> object:
    """Return the `data` of a reply, or a Failure in the server's words. Raises Refused for what is no reply of the API."""
    try:
        reply = json.loads(raw.data)
        if _SURROGATE.search(raw.data):  # half a character is none: nobody could write it down
            json.dumps(reply, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        reply = None
    match reply:
        case {"status": "error", "error": str(words), **rest}:
            said = " ".join(words.split())[:REASON_LENGTH] or f"HTTP status {raw.status}"
            return Failure(said, str(rest.get("errorType", ""))[:REASON_LENGTH])
        case {"status": "success", "isPartial": True}:
            raise Refused("the answer is partial: a part of the store did not answer")
        case {"status": "success", "data": data} if raw.status == OK:
            return data
        case _ if raw.status != OK:
            raise Refused(f"HTTP status {raw.status} {raw.reason}".rstrip())
        case _:
            raise Refused("what it answers is not the JSON of a Prometheus server")


def read_result(data: object, at: int) -> Result:
    """Return what an expression evaluates to. Raises Refused for what cannot be read."""
    match data:
        case {"resultType": "vector", "result": [*rows]}:
            pairs = [read_row(row) for row in rows]
            return Vector(at, tuple(labels for labels, _ in pairs), np.array([value for _, value in pairs], np.float64))
        case {"resultType": "scalar", "result": [_, value]}:
            return Scalar(at, read_number(value))
        case {"resultType": "string", "result": [_, str(value)]}:
            return Text(at, value)
        case {"resultType": "matrix", "result": [*rows]}:
            return Matrix(tuple(map(read_points, rows)))
        case _:
            raise Refused("what it answers is no result of a query")


def read_row(row: object) -> tuple[Labels, float]:
    """Return one series of a vector and its value. Raises Refused."""
    match row:
        case {"metric": {**metric}, "value": [_, value]}:
            return read_labels(metric), read_number(value)
        case {"histogram": _}:
            raise Refused("native histograms are not supported")
        case _:
            raise Refused("a series of the result has no labels or no value")


def read_points(row: object) -> Points:
    """Return one series of a range vector. Raises Refused."""
    match row:
        case {"metric": {**metric}, "values": [*pairs]}:
            times, values = [], []
            for pair in pairs:
                match pair:
                    case [int() | float() as time, value] if abs(time) < LATEST:
                        times.append(round(time * 1000))
                        values.append(read_number(value))
                    case _:
                        raise Refused("a sample has no time or no value")
            return Points(read_labels(metric), np.array(times, np.int64), np.array(values, np.float64))
        case {"histograms": _}:
            raise Refused("native histograms are not supported")
        case _:
            raise Refused("a series of the result has no labels or no value")


def read_labels(metric: Mapping[object, object]) -> Labels:
    """Return the labels of a series. Raises Refused."""
    labels = {str(name): label for name, label in metric.items() if isinstance(label, str)}
    if len(labels) != len(metric):
        raise Refused("a label's value is not text")
    return Labels(labels)


def read_number(value: object) -> float:
    """Return a sample's value, which is written as text: "NaN" and "+Inf" too. Raises Refused."""
    if not isinstance(value, str) or len(value) > NUMBER_LENGTH or not NUMBER.fullmatch(value):
        raise Refused(f"{str(value)[:40]!r} is no sample's value")
    return float(value)
