"""A server with Prometheus's query API that says whatever a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

AT = 1_760_000_000.0
Reply = tuple[int, Mapping[str, str], bytes]


class Server:
    """Answers a query as `reply` says, which gets its parameters, and anything else with its page; remembers what was asked."""

    def __init__(self) -> None:
        self.reply: Callable[[dict[str, str]], Reply] = lambda _: vector(("a", AT - 5))
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.pages: dict[str, Reply] = {}
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
                server.asked.append(form)
                self.answer(server.reply(form))

            def do_GET(self) -> None:
                self.answer(server.pages.get(self.path, (404, {}, b"")))

            def answer(self, reply: Reply) -> None:
                server.paths.append(self.path)
                server.headers.append(dict(self.headers.items()))
                status, headers, body = reply
                with suppress(ConnectionError):
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def queries(self) -> list[str]:
        return [form["query"] for form in self.asked]


def reply(data: object, status: int = 200) -> Reply:
    return status, {}, json.dumps(data).encode()


def vector(*samples: tuple[str, float | str]) -> Reply:
    rows = [{"metric": {"instance": name}, "value": [AT, str(value)]} for name, value in samples]
    return reply({"status": "success", "data": {"resultType": "vector", "result": rows}})


def result(data: object) -> Reply:
    return reply({"status": "success", "data": data})
