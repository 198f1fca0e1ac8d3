"""The engine's own page: /metrics for a Prometheus server, /-/healthy for whatever restarts what is not well."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engine.app.health import Health

PATIENCE = 10.0
"""Seconds that a client may take, from its first byte to our last."""
MOST = 32
"""Clients at a time: every one costs a thread and a descriptor, which the engine itself lives on."""
Request = socket.socket | tuple[bytes, socket.socket]
VERSION = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """Serves the figures on host:port from a thread of its own. Raises OSError when that cannot be listened on."""

    def __init__(self, health: Health, listen: str, patience: float = PATIENCE) -> None:
        host, _, port = listen.rpartition(":")
        self._server = Server(health, (host.strip("[]"), int(port)), patience)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True, name="page")

    @property
    def address(self) -> str:
        """Return host:port as it is listened on."""
        host, port = str(self._server.server_address[0]), self._server.server_address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class Server(ThreadingHTTPServer):
    """A server that knows whose health it shows."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, health: Health, address: tuple[str, int], patience: float) -> None:
        self.health = health
        self.patience = patience
        self._since: dict[socket.socket, float] = {}
        self._mutex = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def verify_request(self, request: Request, client_address: object) -> bool:
        """Return whether there is room for one more client."""
        del request, client_address
        with self._mutex:
            return len(self._since) < MOST

    def process_request(self, request: Request, client_address: object) -> None:
        """Answer a client in a thread of its own."""
        if isinstance(request, socket.socket):
            with self._mutex:
                self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Request) -> None:
        """Let a client go."""
        with self._mutex:
            self._since.pop(request, None)  # type: ignore[arg-type]  # a datagram's request is no socket: there are none
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End those who take too long; called several times a second. One who drips never runs into a time limit of its own."""
        late = time.monotonic() - self.patience
        with self._mutex:
            slow = [each for each, since in self._since.items() if since < late]
        for each in slow:
            with contextlib.suppress(OSError):  # it has gone by itself
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Request, client_address: object) -> None:
        """Say nothing of a client that went away in the middle, or was sent away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: Server
    timeout = PATIENCE
    server_version = "mendbook"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a page, or with how it is."""
        match self.path.partition("?")[0]:
            case "/metrics":
                self.answer(200, self.server.health.page(), VERSION)
            case "/-/healthy" | "/-/ready":
                late = self.server.health.late()
                self.answer(503 if late else 200, f"{late or 'healthy'}\n")
            case _:
                self.answer(404, "there are /metrics and /-/healthy\n")

    def answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        """Send a text."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of who asks: it is asked all the time."""
