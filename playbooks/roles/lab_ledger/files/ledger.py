#!/usr/bin/python3
"""A small ledger: accounts, and transfers between them, over HTTP and PostgreSQL.

What it promises: a transfer that was answered with 200 is committed, and the sum of all balances never changes. What failed is
answered with 5xx and never tried again behind the caller's back; the caller may repeat a transfer under the same id, which moves
the amount at most once. Nothing in it waits without a deadline, and threads, connections and waiting requests have a fixed number.
"""

from __future__ import annotations

import argparse
import bisect
import configparser
import contextlib
import json
import os
import queue
import select
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions as driver

T = TypeVar("T")
BODY_LIMIT = 4096
AMOUNT_LIMIT = 10**12
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXIT_SETTINGS = 78  # sysexits.h: EX_CONFIG

# Indexes would answer without a look at the tables, and damage in them would stay unseen.
SCAN = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = 8000; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
SELECT (SELECT coalesce(sum(balance), 0)::bigint FROM accounts), (SELECT count(*) FROM accounts), (SELECT count(*) FROM transfers);
"""


# ---------------------------------------------------------------------------------------------------------------- settings


class SettingsError(Exception):
    """The settings cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What stands in ledger.conf."""

    node: str
    address: str
    port: int
    threads: int
    queue: int
    hosts: tuple[str, ...]
    database_port: int
    database: str
    user: str
    password: str
    scan_interval: float


def read_settings(text: str) -> Settings:
    """Return the settings that the text holds. Raises SettingsError for anything that is missing, unknown or out of range."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        server, database = dict(parser["server"]), dict(parser["database"])
        settings = Settings(
            node=server.pop("node"),
            address=server.pop("address", "127.0.0.1"),
            port=int(server.pop("port", "8000")),
            threads=int(server.pop("threads", "8")),
            queue=int(server.pop("queue", "32")),
            hosts=tuple(database.pop("hosts").split()),
            database_port=int(database.pop("port", "5432")),
            database=database.pop("name", "ledger"),
            user=database.pop("user", "ledger"),
            password=database.pop("password", ""),
            scan_interval=float(server.pop("scan_interval", "2")),
        )
    except KeyError as error:
        raise SettingsError(f"{error} is missing") from error
    except (configparser.Error, ValueError) as error:
        raise SettingsError(str(error).replace("\n", " ")) from error
    if unknown := [*server, *database]:
        raise SettingsError(f"unknown: {', '.join(unknown)}")
    if not (settings.hosts and 0 < settings.port < 1 << 16 and 0 < settings.threads <= 64 and 0 < settings.queue <= 1024):
        raise SettingsError("hosts, port, threads (1 to 64) or queue (1 to 1024) cannot be used")
    if not 0.1 <= settings.scan_interval <= 3600:
        raise SettingsError("scan_interval must lie between 0.1 and 3600 seconds")
    return settings


# --------------------------------------------------------------------------------------------------------------- transfers


class Refused(Exception):
    """The caller asked for something that cannot be; repeating it will not help."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Unconfirmed(psycopg2.OperationalError):
    """The commit was made on one machine, but nobody else confirmed it: it is not acknowledged."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """An amount that moves from one account to another, once under its id."""

    id: str
    source: int
    destination: int
    amount: int


def read_transfer(body: bytes) -> Transfer:
    """Return the transfer that a request's body asks for. Raises Refused."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON") from error
    if not isinstance(asked, dict) or set(asked) != {"id", "source", "destination", "amount"}:
        raise Refused(400, "the body needs id, source, destination and amount, and nothing else")
    numbers = [asked["source"], asked["destination"], asked["amount"]]
    if any(type(number) is not int for number in numbers):
        raise Refused(400, "source, destination and amount are whole numbers")
    if not 1 <= asked["amount"] <= AMOUNT_LIMIT or asked["source"] == asked["destination"]:
        raise Refused(400, f"an amount from 1 to {AMOUNT_LIMIT} moves between two accounts")
    if not all(0 < number < 1 << 31 for number in numbers[:2]):
        raise Refused(404, "there is no such account")
    return Transfer(read_id(asked["id"]), *numbers)


def read_id(text: object) -> str:
    """Return a transfer's id in its one spelling. Raises Refused."""
    try:
        return str(uuid.UUID(text if isinstance(text, str) else ""))
    except ValueError as error:
        raise Refused(400, "an id is a UUID") from error


# ---------------------------------------------------------------------------------------------------------------- database


class Deadline(threading.local):
    """Until when this thread waits for the database, on the monotonic clock."""

    at = 0.0


DEADLINE = Deadline()


def wait(connection: Any) -> None:
    """Wait for the database's answer, but not beyond the thread's deadline: a server that hangs is as bad as none."""
    while (state := connection.poll()) != driver.POLL_OK:
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == driver.POLL_READ else select.POLLOUT)
        left = DEADLINE.at - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise psycopg2.OperationalError("the database did not answer in time")


class Session:
    """One thread's connection to whichever server accepts writes; made anew after any failure."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hosts = list(settings.hosts)
        self.connection: Any = None

    def connect(self) -> None:
        """Connect to the first server that accepts writes, beginning with the last that did. Raises psycopg2.Error."""
        end = DEADLINE.at
        reasons = []
        for host in list(self.hosts):
            DEADLINE.at = min(end, time.monotonic() + 2)
            try:
                self.connection = psycopg2.connect(
                    host=host,
                    port=self.settings.database_port,
                    dbname=self.settings.database,
                    user=self.settings.user,
                    password=self.settings.password or None,
                    target_session_attrs="read-write",
                    connect_timeout=2,
                    application_name=f"ledger-{self.settings.node}",
                    options="-c statement_timeout=3000 -c client_min_messages=warning",
                )
            except psycopg2.Error as error:
                reasons.append(str(error).strip())
                continue
            finally:
                DEADLINE.at = end
            self.hosts.sort(key=lambda other, found=host: other != found)
            return
        raise psycopg2.OperationalError("; ".join(reasons))

    def stale(self) -> bool:
        """Whether an idle connection has something to say, which is always that it has ended."""
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Let go of the connection."""
        if self.connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self.connection.close()
        self.connection = None

    def transact(self, work: Callable[[Any], T], seconds: float = 4.0) -> T:
        """Return what the work returned, once it is committed here and on another machine. Tried once. Raises psycopg2.Error."""
        DEADLINE.at = time.monotonic() + seconds
        try:
            if self.connection is not None and self.stale():
                self.close()
            if self.connection is None:
                self.connect()
            with self.connection.cursor() as cursor:
                result = work(cursor)
            self.connection.notices.clear()
            self.connection.commit()
            if self.connection.notices:  # "canceling wait for synchronous replication" comes as a warning beside success
                raise Unconfirmed(" ".join(self.connection.notices).strip())
        except Refused:
            self.connection.rollback()
            raise
        except psycopg2.Error:
            self.close()
            raise
        return result


def move(cursor: Any, transfer: Transfer) -> bool:
    """Make the transfer, and return whether it had been made before. Raises Refused."""
    cursor.execute(
        "INSERT INTO transfers (id, source, destination, amount) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
        (transfer.id, transfer.source, transfer.destination, transfer.amount),
    )
    if cursor.rowcount == 0:
        cursor.execute("SELECT source, destination, amount FROM transfers WHERE id = %s", (transfer.id,))
        if cursor.fetchone() != (transfer.source, transfer.destination, transfer.amount):
            raise Refused(409, "another transfer has this id")
        confirm(cursor)  # the first try may have been committed here and nowhere else
        return True
    # Locked in the order of their numbers, so that two transfers in opposite directions never wait for each other.
    cursor.execute(
        "SELECT id, balance FROM accounts WHERE id IN (%s, %s) ORDER BY id FOR UPDATE", (transfer.source, transfer.destination)
    )
    balances = dict(cursor.fetchall())
    if len(balances) != 2:
        raise Refused(404, "there is no such account")
    if balances[transfer.source] < transfer.amount:
        raise Refused(422, "the source has less than that")
    cursor.execute(
        "UPDATE accounts SET balance = balance + CASE id WHEN %s THEN -%s ELSE %s END WHERE id IN (%s, %s)",
        (transfer.source, transfer.amount, transfer.amount, transfer.source, transfer.destination),
    )
    if cursor.rowcount != 2:
        raise psycopg2.InternalError("the accounts that were locked could not be changed")
    return False


def find(cursor: Any, transfer_id: str) -> dict[str, Any]:
    """Return a transfer that was made. Raises Refused."""
    cursor.execute("SELECT source, destination, amount, at FROM transfers WHERE id = %s", (transfer_id,))
    row = cursor.fetchone()
    if row is None:
        raise Refused(404, "there is no such transfer")
    confirm(cursor)
    return {"id": transfer_id, "source": row[0], "destination": row[1], "amount": row[2], "at": row[3].isoformat()}


def scan(cursor: Any) -> tuple[int, int, int]:
    """Return the sum of all balances, and the numbers of accounts and transfers, as of one moment, from the tables themselves."""
    cursor.execute(SCAN)
    total, accounts, transfers = cursor.fetchone()
    return total, accounts, transfers


def confirm(cursor: Any) -> None:
    """Write something of no meaning, so that the commit waits until all that was committed before is on two machines."""
    cursor.execute("SELECT pg_logical_emit_message(true, 'ledger', '')")


# ----------------------------------------------------------------------------------------------------------------- metrics


@dataclass(slots=True)
class Figures:
    """What /metrics tells; every method may be called by any thread."""

    started: float = field(default_factory=time.time)
    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    buckets: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    reading: tuple[int, int, int] | None = None
    scans: Counter[str] = field(default_factory=Counter)
    failure: str = ""
    scanned: float = 0.0

    def answered(self, handler: str, status: int, seconds: float) -> None:
        """Count a request."""
        with self.lock:
            self.requests[handler, status] += 1
            self.buckets[handler, bisect.bisect_left(BUCKETS, seconds)] += 1
            self.seconds[handler] = self.seconds.get(handler, 0.0) + seconds

    def read(self, reading: tuple[int, int, int]) -> None:
        """Take in what a scan found."""
        with self.lock:
            self.reading, self.failure, self.scanned = reading, "", time.time()
            self.scans["ok"] += 1

    def unread(self, sqlstate: str) -> None:
        """Take in that a scan failed: old figures are not shown as if they were new."""
        with self.lock:
            self.reading, self.failure = None, sqlstate
            self.scans[sqlstate] += 1

    def page(self) -> str:
        """Return the page in Prometheus' text format."""
        with self.lock:
            return "\n".join([*self.request_lines(), *self.scan_lines(), *process_lines(self.started)]) + "\n"

    def request_lines(self) -> Iterator[str]:
        yield "# TYPE ledger_requests_total counter"
        for (handler, status), count in sorted(self.requests.items()):
            yield f'ledger_requests_total{{handler="{handler}",code="{status}"}} {count}'
        yield "# TYPE ledger_request_duration_seconds histogram"
        for handler, seconds in sorted(self.seconds.items()):
            count = 0
            for place, edge in enumerate([*map(str, BUCKETS), "+Inf"]):
                count += self.buckets[handler, place]
                yield f'ledger_request_duration_seconds_bucket{{handler="{handler}",le="{edge}"}} {count}'
            yield f'ledger_request_duration_seconds_sum{{handler="{handler}"}} {seconds:.6f}'
            yield f'ledger_request_duration_seconds_count{{handler="{handler}"}} {count}'

    def scan_lines(self) -> Iterator[str]:
        yield "# HELP ledger_scan_success Whether the newest full scan of the tables worked. Without it there are no figures."
        yield "# TYPE ledger_scan_success gauge"
        if self.scans:
            yield f"ledger_scan_success {int(self.reading is not None)}"
        yield "# TYPE ledger_scans_total counter"
        for result, count in sorted(self.scans.items()):
            yield f'ledger_scans_total{{result="{result}"}} {count}'
        if self.failure:
            yield "# HELP ledger_scan_error The newest scan's SQLSTATE: XX001 is a damaged page, 42P01 a missing table."
            yield "# TYPE ledger_scan_error gauge"
            yield f'ledger_scan_error{{sqlstate="{self.failure}"}} 1'
        if self.scanned:
            yield "# TYPE ledger_scan_timestamp_seconds gauge"
            yield f"ledger_scan_timestamp_seconds {self.scanned:.3f}"
        if self.reading is not None:
            for name, value in zip(("total", "accounts", "transfers"), self.reading, strict=True):
                yield f"# TYPE ledger_{name} gauge"
                yield f"ledger_{name} {value}"


def process_lines(started: float) -> Iterator[str]:
    """Yield the figures of this process under the names that client libraries use."""
    pages = [int(number) * os.sysconf("SC_PAGE_SIZE") for number in Path("/proc/self/statm").read_text().split()[:2]]
    limits = next(line for line in Path("/proc/self/limits").read_text().splitlines() if line.startswith("Max open files"))
    used = os.times()
    for kind, name, value in (
        ("gauge", "process_virtual_memory_bytes", pages[0]),
        ("gauge", "process_resident_memory_bytes", pages[1]),
        ("counter", "process_cpu_seconds_total", round(used.user + used.system, 2)),
        ("gauge", "process_open_fds", len(os.listdir("/proc/self/fd")) - 1),
        ("gauge", "process_max_fds", limits.split()[3]),
        ("gauge", "process_threads", threading.active_count()),
        ("gauge", "process_start_time_seconds", round(started, 3)),
    ):
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value}"


# ------------------------------------------------------------------------------------------------------------------ server


class Handler(BaseHTTPRequestHandler):
    """Answers one request on a worker's own session."""

    server: Server
    timeout = 5
    server_version = "ledger"
    sys_version = ""

    def do_POST(self) -> None:
        """Make transfers."""
        self.answer({"/transfer": ("transfer", self.transfer)}.get(self.path))

    def do_GET(self) -> None:
        """Tell of transfers, of the sum, of health, and figures."""
        if self.path.startswith("/transfer/"):
            self.answer(("lookup", self.lookup))
        else:
            known = {"/invariant": self.invariant, "/healthz": self.healthz, "/metrics": self.metrics}
            self.answer((self.path[1:], known[self.path]) if self.path in known else None)

    def answer(self, work: tuple[str, Callable[[], object]] | None) -> None:
        """Do the work and send what came of it; every way out of here is counted."""
        began, status, (handler, act) = time.monotonic(), 500, work or ("none", self.nothing)
        try:
            try:
                status, reply = 200, act()
            except Refused as error:
                status, reply = error.status, {"error": str(error)}
            except psycopg2.Error as error:
                status, reply = 503, {"error": str(error).strip(), "sqlstate": sqlstate_of(error)}
                print(f"request failed handler={handler} sqlstate={sqlstate_of(error)} error={str(error).strip()!r}", flush=True)
            self.send(status, reply)
        finally:
            self.server.figures.answered(handler, status, time.monotonic() - began)

    def send(self, status: int, reply: object) -> None:
        """Send text as it is, anything else as JSON."""
        text, kind = (reply, "text/plain; version=0.0.4") if isinstance(reply, str) else (json.dumps(reply) + "\n", "application/json")
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def transfer(self) -> object:
        """Make the transfer that the body asks for."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_LIMIT:
            raise Refused(413 if length.isdecimal() else 411, f"the body's length must be told, and be at most {BODY_LIMIT} bytes")
        asked = read_transfer(self.rfile.read(int(length)))
        return {"id": asked.id, "repeated": self.server.session().transact(lambda cursor: move(cursor, asked))}

    def lookup(self) -> object:
        """Tell of one transfer."""
        wanted = read_id(self.path.removeprefix("/transfer/"))
        return self.server.session().transact(lambda cursor: find(cursor, wanted))

    def invariant(self) -> object:
        """Tell the sum, and the numbers of accounts and transfers."""
        total, accounts, transfers = self.server.session().transact(scan, 10)
        return {"accounts": accounts, "total": total, "transfers": transfers}

    def healthz(self) -> object:
        """Commit a write, and say that it worked."""
        self.server.session().transact(confirm, 2.5)
        return "ok\n"

    def metrics(self) -> object:
        """Tell figures without asking the database."""
        return self.server.figures.page()

    def nothing(self) -> object:
        """Refuse what there is not."""
        raise Refused(404, "there is nothing here")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it)
        """Requests are counted, not logged."""


def sqlstate_of(error: psycopg2.Error) -> str:
    """Return the server's five characters for what went wrong; 08000, connection exception, when it never said any."""
    return error.pgcode or "08000"


class Server(ThreadingMixIn, HTTPServer):
    """A fixed number of workers, each with a session of its own, behind a queue of fixed length."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.figures = Figures()
        self.waiting: queue.Queue[tuple[socket.socket, Any]] = queue.Queue(settings.queue)
        self.sessions = threading.local()
        super().__init__((settings.address, settings.port), Handler)
        for number in range(settings.threads):
            threading.Thread(target=self.work, name=f"worker-{number}", daemon=True).start()

    def session(self) -> Session:
        """Return this thread's session."""
        if not hasattr(self.sessions, "mine"):
            self.sessions.mine = Session(self.settings)
        mine: Session = self.sessions.mine
        return mine

    def process_request(self, request: Any, client_address: Any) -> None:
        """Queue the request, or refuse it at once when too many wait already."""
        try:
            self.waiting.put_nowait((request, client_address))
        except queue.Full:
            self.figures.answered("refused", 503, 0.0)
            with contextlib.suppress(OSError):
                request.settimeout(1)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n")
            self.shutdown_request(request)

    def work(self) -> None:
        """Answer requests for ever; what a handler did not expect is logged by the base class, and the caller gets no answer."""
        while True:
            self.process_request_thread(*self.waiting.get())
            self.waiting.task_done()

    def finish(self, seconds: float) -> None:
        """Let requests that were taken in be answered."""
        end = time.monotonic() + seconds
        with self.waiting.all_tasks_done:
            while self.waiting.unfinished_tasks and (left := end - time.monotonic()) > 0:
                self.waiting.all_tasks_done.wait(left)


def watch(server: Server, config: Path, good: Path, ended: threading.Event) -> None:
    """Scan the tables at each interval; once that has worked, keep the settings as the last good ones."""
    session = Session(server.settings)
    kept = False
    while not ended.is_set():
        began = time.monotonic()
        try:
            server.figures.read(session.transact(scan, 10))
        except psycopg2.Error as error:
            if server.figures.failure != sqlstate_of(error):
                print(f"scan failed sqlstate={sqlstate_of(error)} error={str(error).strip()!r}", flush=True)
            server.figures.unread(sqlstate_of(error))
        else:
            if not kept:
                keep(config, good)
            kept = True
        ended.wait(max(0.1, server.settings.scan_interval - (time.monotonic() - began)))


def keep(config: Path, good: Path) -> None:
    """Copy the settings that work to where a broken file can be mended from. Atomic; a place that cannot be written is told."""
    draft = good.with_suffix(".new")
    try:
        shutil.copyfile(config, draft)
        draft.chmod(0o640)
        draft.replace(good)
    except OSError as error:
        print(f"the settings could not be kept: {error}", flush=True)


def notify(state: bytes) -> None:
    """Tell systemd, where there is one that asked."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            stream.send(state)


def serve(settings: Settings, config: Path, good: Path) -> None:
    """Serve until SIGTERM."""
    ended = threading.Event()
    with Server(settings) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        threading.Thread(target=watch, args=(server, config, good, ended), name="watch", daemon=True).start()
        notify(b"READY=1")
        server.serve_forever()
        ended.set()
        server.finish(5)


def main() -> int:
    """Return the exit status; 78 says that the settings cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("/etc/ledger/ledger.conf"))
    parser.add_argument("--good", type=Path, default=Path("/var/lib/ledger/last-good.conf"), help="where settings that work are kept")
    parser.add_argument("--check", action="store_true", help="only say whether the settings can be used")
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.config.read_text(encoding="utf-8"))
    except (SettingsError, OSError, UnicodeDecodeError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    if not arguments.check:
        driver.set_wait_callback(wait)
        serve(settings, arguments.config, arguments.good)
    return 0


if __name__ == "__main__":
    sys.exit(main())
