"""A real Prometheus server on the loopback, to hold results and times against.

It is loaded through the remote-write receiver: the protocol's two encodings are small enough to be written out here (protobuf's
`WriteRequest`, and snappy's block format with literals alone).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine.model.labels import Labels

GET = Path(__file__).with_name("get_prometheus.sh")
LARGEST = 4 << 20
"""Bytes of one remote-write request, about."""


def find_prometheus() -> str:
    """Return the path of the server; raises CalledProcessError where it cannot be had."""
    return subprocess.run([str(GET)], check=True, capture_output=True, text=True).stdout.strip()


class PrometheusServer:
    """A server with an empty database in a folder of its own; ended, and its folder removed, on exit."""

    def __init__(self, binary: str | None = None, *, config: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mendbook-prometheus-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._labels: dict[int, tuple[object, list[bytes]]] = {}
        self.rules = self.folder / "rules.yml"
        self.rules.write_text("groups: []\n")
        self.config = self.folder / "prometheus.yml"
        self.config.write_text(f"global: {{evaluation_interval: 1s}}\nrule_files: [{self.rules}]\n{config}")
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    binary or find_prometheus(),
                    f"--config.file={self.config}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--web.enable-remote-write-receiver",
                    "--web.enable-lifecycle",
                    "--enable-feature=promql-experimental-functions,promql-duration-expr",
                    f"--web.console.templates={self.folder}",
                    f"--web.console.libraries={self.folder}",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "TZ": "UTC"},
            )
        try:
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/-/ready")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"Prometheus does not become ready: {self.log.read_text()[-2000:]}")

    def get(self, path: str, **parameters: object) -> str:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(self.address + path + query, timeout=120) as reply:
            return reply.read().decode()

    def post(self, path: str, data: bytes = b"", headers: Mapping[str, str] = {}) -> str:
        request = urllib.request.Request(self.address + path, data=data, headers=dict(headers), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.code} {error.read()[:500]!r}") from None

    def query(self, path: str, **parameters: object) -> dict[str, Any]:
        """Return the reply of the query API, errors too, as it is."""
        body = urllib.parse.urlencode(parameters).encode()
        request = urllib.request.Request(self.address + path, data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                found: dict[str, Any] = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            found = json.loads(error.read())
        return found

    def metrics(self) -> Metrics:
        return Metrics(self.get("/metrics"))

    def collect_garbage(self) -> None:
        """Have Go give up what is not used, so that what is used can be read."""
        with urllib.request.urlopen(self.address + "/debug/pprof/heap?gc=1", timeout=120) as reply:
            reply.read()

    def load_rules(self, text: str) -> None:
        self.rules.write_text(text)
        self.post("/-/reload")

    def write(self, series: tuple[Labels, ...], times: Sequence[int], values: np.ndarray[Any, Any]) -> None:
        """Store `values[i, j]` for `series[i]` at `times[j]` (milliseconds, ascending, and later than what is there)."""
        known = self._labels.get(id(series))
        if known is None or known[0] is not series:
            known = self._labels[id(series)] = (series, [encode_labels(labels) for labels in series])
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        for message in requests(known[1], np.asarray(times, np.int64), values):
            self.post("/api/v1/write", snappy(message), headers)


class Metrics:
    """A page of metrics, to be asked by name."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, name: str) -> float:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str, label: str = "") -> float | None:
        pattern = rf"^{re.escape(name)}(?:\{{[^}}\n]*{re.escape(label)}[^}}\n]*\}})? (\S+)$"
        found = re.search(pattern, self.text, re.MULTILINE)
        return None if found is None else float(found[1])


def varint(number: int) -> bytes:
    """Return protobuf's variable-length form of a number that is not negative."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def encode_labels(labels: Labels) -> bytes:
    """Return the labels of a TimeSeries."""
    return b"".join(field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in labels.pairs)


def encode_samples(times: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> list[bytes]:
    """Return, for each row of `values`, the samples of a TimeSeries."""
    stamps = [varint(time) for time in times.tolist()]
    width = len(stamps[0])
    if any(len(stamp) != width for stamp in stamps):
        raise ValueError("times of one request must have one size")
    size = 2 + 9 + 1 + width
    cells = np.zeros((values.shape[0], values.shape[1], size), np.uint8)
    cells[:, :, 0], cells[:, :, 1], cells[:, :, 2] = 2 << 3 | 2, size - 2, 1 << 3 | 1
    cells[:, :, 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(*values.shape, 8)
    cells[:, :, 11] = 2 << 3
    cells[:, :, 12:] = np.frombuffer(b"".join(stamps), np.uint8).reshape(len(stamps), width)
    return [row.tobytes() for row in cells]


def requests(labels: list[bytes], times: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Iterator[bytes]:
    """Yield WriteRequests: some columns at a time, so that times ascend from one request to the next."""
    columns = max(1, LARGEST // (20 * max(1, len(labels))))
    for first in range(0, len(times), columns):
        samples = encode_samples(times[first : first + columns], values[:, first : first + columns])
        parts: list[bytes] = []
        size = 0
        for one, points in zip(labels, samples, strict=True):
            parts.append(field(1, one + points))
            size += len(parts[-1])
            if size > LARGEST:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)


def snappy(data: bytes) -> bytes:
    """Return `data` in snappy's block format, as one literal."""
    return varint(len(data)) + bytes([63 << 2]) + (len(data) - 1).to_bytes(4, "little") + data
