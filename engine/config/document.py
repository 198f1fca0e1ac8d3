"""Files that people write: from bytes to a tree that knows where everything in it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config.errors import Problem, Severity, shown
from engine.config.reader import Reader
from engine.config.scalars import locate
from engine.config.tree import Items, KeyPath, Leaf, Table, Tree, place_of, plain, problem_at
from engine.model.runbook import Place, Value

LARGEST_FILE = 512 * 1024
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read: its tree (None when it has none), and what is wrong with it as YAML."""

    file: str
    text: str = ""
    root: Table | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def data(self) -> dict[str, Value]:
        """The file's content as plain values."""
        content = plain(self.root) if self.root is not None else {}
        return dict(content) if isinstance(content, Mapping) else {}

    def problem(
        self,
        code: str,
        message: str,
        path: KeyPath = (),
        *,
        at_key: bool = False,
        offset: int = 0,
        width: int = 1,
        fix: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Problem:
        """Return a problem at the value that `path` leads to, or at its key, or `offset` characters into a text."""
        place = self.index(path, at_key=at_key, offset=offset)
        return problem_at(self.file, self.text, place, code, message, width=width, fix=fix, severity=severity)

    def place(self, path: KeyPath = (), *, at_key: bool = False) -> Place:
        """Return where the value that `path` leads to stands, or its key."""
        return place_of(self.file, self.text, self.index(path, at_key=at_key))

    def index(self, path: KeyPath, *, at_key: bool = False, offset: int = 0) -> int:
        """Return the place in the text of what `path` leads to, or of as much of it as there is."""
        node: Tree | None = self.root
        start = node.start if node is not None else 0
        for part in path:
            match node:
                case Table(entries=entries) if part in entries:
                    entry = entries[str(part)]
                    start = entry.key.start if at_key else entry.value.start
                    node = entry.value
                case Items(items=items) if isinstance(part, int) and part < len(items):
                    node = items[part]
                    start = node.start
                case Leaf() if part == 0:
                    pass  # one text may stand for a list of one
                case _:
                    return start
        if isinstance(node, Leaf) and not at_key and offset >= 0:
            return locate(self.text, node.start, node.style, node.text, offset)
        return start

    def at(self, path: KeyPath) -> Tree | None:
        """Return the part of the tree that `path` leads to."""
        node: Tree | None = self.root
        for part in path:
            match node:
                case Table(entries=entries) if part in entries:
                    node = entries[str(part)].value
                case Items(items=items) if isinstance(part, int) and part < len(items):
                    node = items[part]
                case _:
                    return None
        return node


def read_document(path: Path, *, name: str | None = None) -> Document:
    """Return the file's tree with every problem it has as YAML; a file that cannot be read has no tree and one problem."""
    file = name or shown(path)
    nowhere = Place(file, 1, 1)
    try:
        if path.exists() and not path.is_file():
            return Document(file, problems=(Problem("unreadable", "this is not a regular file", nowhere),))
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        return Document(file, problems=(Problem("unreadable", error.strerror or str(error), nowhere),))
    if len(raw) > LARGEST_FILE:
        message = f"the file is larger than {LARGEST_FILE // 1024} KiB"
        return Document(file, problems=(Problem("too-large", message, nowhere),))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        begin = raw.rfind(b"\n", 0, error.start) + 1
        column = len(raw[begin : error.start].decode("utf-8", "replace")) + 1
        place = Place(file, raw.count(b"\n", 0, error.start) + 1, column)
        line = raw[begin:].split(b"\n", 1)[0].decode("utf-8", "replace")
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        return Document(file, problems=(Problem("not-utf-8", message, place, line, fix="save the file as UTF-8"),))
    return parse_document(file, text)


def parse_document(file: str, text: str) -> Document:
    """Return the tree of a YAML text with every problem it has."""
    strange = _UNPRINTABLE.search(text)
    if strange is not None:
        message = f"character U+{ord(strange[0]):04X} cannot stand in YAML"
        return Document(file, text, None, (problem_at(file, text, strange.start(), "bad-yaml", message),))
    reader = Reader(file, text)
    root = reader.read()
    return Document(file, text, root, tuple(reader.problems))
