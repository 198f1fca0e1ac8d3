"""The journal of an execution: one line of JSON for each event, numbered from 1, whole or not there at all."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.executor.scrub import Scrubber
from engine.model.execution import TaskEvent
from engine.model.runbook import Value

LONGEST_TEXT = 4096
LARGEST = 1 << 20
_RESERVE = 64 << 10
_VITAL = frozenset({"step_started", "step_ended", "failed", "unreachable", "message"})
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")


def printable(text: str) -> str:
    """Return text that any terminal and any encoder can take: no escape sequences, no control characters, no lone surrogates."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    text = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
    return text.encode("utf-8", "replace").decode("utf-8")


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the text in at most so many bytes of UTF-8, its beginning and its end kept."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= longest:
        return text
    note = f"\n… {len(encoded)} bytes in all …\n"
    room = longest - len(note.encode())
    head, tail = encoded[: room - room // 4], encoded[len(encoded) - room // 4 :]
    return head.decode("utf-8", "ignore") + note + tail.decode("utf-8", "ignore")


class Journal:
    """Writes events; every text is scrubbed, made printable and cut here, whoever wrote it."""

    def __init__(self, path: Path, scrubber: Scrubber) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.scrubber = scrubber
        self._written = 0
        self._cut = False
        self._torn = False
        self.last = 0
        self.trouble = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(
        self,
        kind: str,
        *,
        step: int = 0,
        host: str = "",
        task: str = "",
        text: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append an event; beyond the largest size only those that say how it went, after one that says so."""
        if self._cut and kind not in _VITAL:
            return
        limit = LARGEST + (_RESERVE if kind in _VITAL else 0)
        longest = LONGEST_TEXT if self._written < LARGEST else LONGEST_TEXT // 8
        line = self._line(kind, step, host, task, shortened(self._safe(text), longest), data or {})
        if self._written + len(line) <= limit:
            self._append(line)
        elif not self._cut:
            self._cut = True
            self._append(self._line("message", step, "", "", "output was cut: there was too much of it to keep", {}))

    def _safe(self, text: str) -> str:
        return printable(self.scrubber(text))

    def _line(self, kind: str, step: int, host: str, task: str, text: str, data: Mapping[str, Any]) -> bytes:
        event = {
            "number": self.last + 1,
            "at": round(time.time(), 3),
            "kind": kind,
            "step": step,
            "host": " ".join(shortened(self._safe(host), 256).split()),
            "task": " ".join(shortened(self._safe(task), 512).split()),
            "text": text,
            "data": {
                name: shortened(self._safe(value), 512) if isinstance(value, str) else value
                for name, value in data.items()
            },
        }
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _append(self, line: bytes) -> None:
        if self._torn:  # the last line could not be finished: this one begins on its own
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self.trouble = f"events could not be kept: {error.strerror}"
            return
        self._torn = written != len(line)
        self._written += written
        if self._torn:
            self.trouble = "events could not be kept: the disk is full"
        else:
            self.last += 1


class Reader:
    """Reads a journal that may still grow, and remembers where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._offset = 0

    def after(self, number: int, most: int | None = None) -> tuple[TaskEvent, ...]:
        """Return the events after that number, in order, at most so many; a line that is not finished is not there yet."""
        if number < self._number:
            self._number = self._offset = 0
        found: list[TaskEvent] = []
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while most is None or len(found) < most:
                    line = file.readline()
                    if not line.endswith(b"\n"):
                        break
                    event = _event(line)
                    if event is not None and event.number > number:
                        found.append(event)
                    elif event is not None:
                        self._number, self._offset = event.number, file.tell()
        except FileNotFoundError:
            return ()
        return tuple(found)


def _event(line: bytes) -> TaskEvent | None:
    try:
        content = json.loads(line)
        return TaskEvent(
            number=int(content["number"]),
            at=float(content["at"]),
            kind=str(content["kind"]),
            step=int(content["step"]),
            host=str(content["host"]),
            task=str(content["task"]),
            text=str(content["text"]),
            data=_frozen(content["data"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # torn by a full disk


def _frozen(data: Mapping[str, Any]) -> dict[str, Value]:
    return {str(name): tuple(value) if isinstance(value, list) else value for name, value in data.items()}
