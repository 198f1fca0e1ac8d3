#!/usr/bin/python3
"""A small ledger: accounts, and transfers between them, over HTTP and PostgreSQL.

What it promises: a transfer that was answered with 200 is committed, and the sum of all balances never changes. What failed is
answered with 5xx and never tried again behind the caller's back; the caller may repeat a transfer under the same id, which moves
the amount at most once. Nothing in it waits without a deadline, and threads, connections and waiting requests have a fixed number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any

import psycopg2
import psycopg2.extensions as driver
from ledger_database import Session, confirm, find, move, scan, sqlstate_of, wait
from ledger_figures import Figures
from ledger_words import Refused, Settings, SettingsError, read_id, read_settings, read_transfer

BODY_LIMIT = 4096
EXIT_SETTINGS = 78  # sysexits.h: EX_CONFIG


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
                print(
                    f"request failed handler={handler} sqlstate={sqlstate_of(error)} error={str(error).strip()!r}",
                    flush=True,
                )
            self.send(status, reply)
        finally:
            self.server.figures.answered(handler, status, time.monotonic() - began)

    def send(self, status: int, reply: object) -> None:
        """Send text as it is, anything else as JSON."""
        text, kind = (
            (reply, "text/plain; version=0.0.4")
            if isinstance(reply, str)
            else (json.dumps(reply) + "\n", "application/json")
        )
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
            raise Refused(
                413 if length.isdecimal() else 411, f"the body's length must be told, and be at most {BODY_LIMIT} bytes"
            )
        asked = read_transfer(self.rfile.read(int(length)))
        return {"id": asked.id, "repeated": self.server.session().transact(lambda cursor: move(cursor, asked))}

    def lookup(self) -> object:
        """Tell of one transfer."""
        wanted = read_id(self.path.removeprefix("/transfer/"))
        found = self.server.session().transact(lambda cursor: find(cursor, wanted))
        if found is None:
            raise Refused(404, "there is no such transfer")
        return found

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

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the base class calls it)
        """Log what a handler did not expect, which mostly is a caller who went away; the caller gets no answer."""
        print(f"request broken off error={sys.exc_info()[1]!r}", flush=True)

    def work(self) -> None:
        """Answer requests for ever."""
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
    parser.add_argument(
        "--good", type=Path, default=Path("/var/lib/ledger/last-good.conf"), help="where settings that work are kept"
    )
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
