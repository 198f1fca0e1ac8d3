"""A real server on loopback whose pages can be as bad as one likes."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

Handler = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def bomb(size: int) -> bytes:
    """Return a gzip member that inflates to `size` bytes of comments."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    line = b"#" + b"x" * 1022 + b"\n"
    return b"".join(deflate.compress(line) for _ in range(size // len(line))) + deflate.flush()


async def endless(start: bytes) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + start
    while True:
        yield b"# more of the same, and no end in sight\n" * 1000


class Served:
    """Serves `pages` (path → bytes of a whole answer, or a function that makes them) until closed."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Callable[[], bytes]] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def page(self, path: str, text: str) -> None:
        self.pages[path] = answer(text.encode())

    def gzip(self, path: str, data: bytes) -> None:
        self.pages[path] = answer(gzip.compress(data), Content_Encoding="gzip")

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            self.asked.append(path)
            self.headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            if path == "/endless":
                async for part in endless(b"a 1\n"):
                    writer.write(part)
                    await writer.drain()
            elif path == "/slow":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")
                await reader.read()  # until the client has had enough
            elif path == "/silent":
                await reader.read()
            else:
                page = self.pages.get(path, answer(b"", "404 Not Found"))
                writer.write(page if isinstance(page, bytes) else page())
                await writer.drain()
        writer.close()

    async def _end(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
