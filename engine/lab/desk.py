"""A Unix socket that takes requests as lines of JSON and answers each, whatever is sent to it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine.lab.control import LINE

_IDLE_SECONDS = 60.0
_CONNECTIONS = 32

Reply = dict[str, object]


class Refusal(Exception):  # noqa: N818  # becomes an error reply; nothing has gone wrong here
    """A request that cannot be obeyed, and why."""


class Desk:
    """A Unix socket that takes one JSON object per line and answers each with one, whatever is sent to it."""

    def __init__(self, obey: Callable[[Reply], Awaitable[Reply]]) -> None:
        self._obey = obey
        self._open = 0
        self._server: asyncio.Server | None = None

    async def listen(self, name: str) -> None:
        """Listen on a socket with this name, relative to the current folder, for this user alone."""
        Path(name).unlink(missing_ok=True)  # noqa: ASYNC240  # before anything is served
        before = os.umask(0o077)
        try:
            self._server = await asyncio.start_unix_server(self._serve, name, limit=LINE)
        finally:
            os.umask(before)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > _CONNECTIONS:
                await _send(writer, _error("too many connections"))
                return
            while line := await self._line(reader, writer):
                await _send(writer, await self._answer(line))
        except (OSError, TimeoutError):
            pass  # they hung up, or said nothing for long
        finally:
            self._open -= 1
            writer.close()

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                return await reader.readline()
        except ValueError:
            await _send(writer, _error(f"a request may have {LINE} bytes at most"))
            return b""

    async def _answer(self, line: bytes) -> Reply:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error("a request is one JSON object on one line")
        if not isinstance(request, dict):
            return _error("a request is a JSON object")
        try:
            return {"ok": True, **await self._obey(request)}
        except Refusal as refusal:
            return _error(str(refusal))
        except OSError as error:  # no room, no process, no permission: the next request may fare better
            return _error(f"{type(error).__name__}: {error}")


def _error(text: str) -> Reply:
    return {"ok": False, "error": text}


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(json.dumps(reply).encode() + b"\n")
    async with asyncio.timeout(_IDLE_SECONDS):
        await writer.drain()
