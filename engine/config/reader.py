"""Reads the parser's events into a tree.

PyYAML's own loaders let the last of two equal keys win, take `on` for a boolean and `1:30` for 90, and expand anchors
without end. Here depth, size and expansion are bounded, and every problem is kept with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.config.errors import Problem, Severity, quoted
from engine.config.scalars import resolve, trap
from engine.config.tree import Entry, Items, Leaf, Table, Tree, place_of, problem_at

_DEEPEST = 24
_MOST_NODES = 20_000
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


class _Stop(Exception):  # noqa: N818  (it ends the reading, with the problem already noted)
    """Nothing behind this place can be read."""


@dataclass(slots=True)
class Reader:
    """Reads one text; what is wrong with it gathers in `problems`."""

    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Tree] = field(default_factory=dict)
    open_anchors: set[str] = field(default_factory=set)

    def read(self) -> Table | None:
        """Return the document's mapping."""
        events = self.events()
        try:
            tree = self.document(events)
        except _Stop:
            return None
        if tree is None or (isinstance(tree, Leaf) and tree.value is None):
            self.note("empty", "the file is empty", 0)
            return None
        if not isinstance(tree, Table):
            self.note("wrong-type", "the file must be a mapping of keys to values", tree.start)
            return None
        return tree

    def events(self) -> Iterator[Any]:
        """Yield the parser's events; where the text is no YAML, note what is wrong and stop."""
        try:
            yield from yaml.parse(self.text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            index = self.at_mark(mark) if mark is not None else 0
            self.note("bad-yaml", *self.sentence(error, index))
            raise _Stop from None
        except yaml.YAMLError as error:
            self.note("bad-yaml", str(error).splitlines()[0], 0)
            raise _Stop from None

    def at_mark(self, mark: Any) -> int:
        """Return a mark's place in the text; libyaml counts lines by more than line feeds, so its own index is better."""
        return min(int(mark.index), len(self.text)) if mark.index else self.line_start(mark.line) + int(mark.column)

    def line_start(self, line: int) -> int:
        """Return where a line (counted from 0) begins."""
        begin = 0
        for _ in range(line):
            begin = self.text.find("\n", begin) + 1
            if begin == 0:
                return len(self.text)
        return begin

    def sentence(self, error: yaml.MarkedYAMLError, index: int) -> tuple[str, int, str | None]:
        """Return the message, the place and the fix of what libyaml complains of."""
        here = self.text[index : index + 1]
        if here == "\t":
            return "a tab cannot indent YAML", index, "use spaces"
        if here and here in "@`" and "cannot start any token" in str(error.problem):
            return f"text cannot start with {here} here", index, "put the text in quotes"
        if "mapping values are not allowed" in str(error.problem):
            return "': ' cannot stand here", index, "put the text in quotes, or mend the indentation"
        message = str(error.problem or error.context or "not YAML")
        if error.context and error.context_mark and error.problem:
            context = error.context.removeprefix("while ")
            message = f"{message} while {context} that begins at line {error.context_mark.line + 1}"
        return message, index, None

    def note(
        self,
        code: str,
        message: str,
        index: int,
        fix: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Keep a problem."""
        self.problems.append(problem_at(self.file, self.text, index, code, message, fix=fix, severity=severity))

    def document(self, events: Iterator[Any]) -> Tree | None:
        """Return the tree of the first document; there must be no second."""
        tree: Tree | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.note("second-document", "a file holds one document", self.at_mark(event.start_mark))
                    raise _Stop
                tree = self.node(next(events), events, 0)
        return tree

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Tree:
        """Return the tree that begins with `event`."""
        start = self.at_mark(event.start_mark)
        if depth > _DEEPEST:
            self.note("too-deep", f"nested more than {_DEEPEST} levels deep", start)
            raise _Stop
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(event.anchor), start)
        if event.anchor:
            self.open_anchors.add(event.anchor)
        tree: Tree
        if isinstance(event, yaml.ScalarEvent):
            tree = self.scalar(event, start)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.refuse_tag(event, "seq", start)
            tree = self.sequence(events, start, depth)
        else:
            self.refuse_tag(event, "map", start)
            tree = self.mapping(events, start, depth)
        if event.anchor:
            self.open_anchors.discard(event.anchor)
            self.anchors[event.anchor] = tree
        return tree

    def alias(self, anchor: str, start: int) -> Tree:
        """Return what an alias stands for."""
        tree = self.anchors.get(anchor)
        if tree is None:
            inside = anchor in self.open_anchors
            self.note("bad-alias", f"*{anchor} stands inside itself" if inside else f"there is no &{anchor}", start)
            raise _Stop
        return tree

    def scalar(self, event: Any, start: int) -> Leaf:
        """Return a scalar; one that other readers of YAML take for something else is remarked upon."""
        text, style = str(event.value), event.style or ""
        tag = event.tag
        if style == "" and tag is None:
            surprise = trap(text)
            if surprise is not None:
                kind, fix = surprise
                message = f"{text} is text here, though YAML 1.1 takes it for {kind}"
                self.note("yaml-trap", message, start, fix, Severity.WARNING)
            return Leaf(resolve(text), text, style, start)
        if tag in (None, "!", f"{_CORE}str"):
            return Leaf(text, text, style, start)
        kind = tag.removeprefix(_CORE)
        if kind not in _SCALAR_TAGS or not tag.startswith(_CORE):
            self.refuse_tag(event, "", start)
            return Leaf(text, text, style, start)
        value = resolve(text)
        if not isinstance(value, _SCALAR_TAGS[kind]) or (isinstance(value, bool) and kind != "bool"):
            self.note("wrong-type", f"{quoted(text)} is no {kind}", start)
        return Leaf(float(value) if kind == "float" and isinstance(value, int) else value, text, style, start)

    def refuse_tag(self, event: Any, kind: str, start: int) -> None:
        """Note a tag that is not YAML's own for this kind of node."""
        if event.tag not in (None, "!", f"{_CORE}{kind}"):
            written = event.tag.replace(_CORE, "!!")
            fix = "leave the tag out" if not written.endswith("vault") else "keep secrets in the inventory"
            self.note("bad-tag", f"the tag {quoted(written)} is not read here", start, fix)

    def sequence(self, events: Iterator[Any], start: int, depth: int) -> Items:
        """Return a sequence whose first event was read."""
        items: list[Tree] = []
        size = 1
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self.node(event, events, depth + 1)
            size = self.grown(size, item, start)
            items.append(item)
        return Items(tuple(items), start, size)

    def mapping(self, events: Iterator[Any], start: int, depth: int) -> Table:
        """Return a mapping whose first event was read; of two equal keys the first counts and the second is an error."""
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        size = 1
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.key(event, events, depth)
            value = self.node(next(events), events, depth + 1)
            size = self.grown(size, value, start)
            if key is None:
                continue
            if key.text == "<<" and key.style == "":
                for name, entry in self.merge(value).items():
                    merged.setdefault(name, entry)
            elif key.text in entries:
                first = place_of(self.file, self.text, entries[key.text].key.start)
                self.note("duplicate-key", f"{quoted(key.text)} stands here again; the first is at {first}", key.start)
            else:
                entries[key.text] = Entry(key, value)
        return Table({**merged, **entries} if merged else entries, start, size)

    def key(self, event: Any, events: Iterator[Any], depth: int) -> Leaf | None:
        """Return a mapping's key, which is text however it looks."""
        start = self.at_mark(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None:
                self.refuse_tag(event, "str", start)
            if event.anchor:
                self.anchors[event.anchor] = Leaf(event.value, event.value, event.style or "", start)
            return Leaf(event.value, event.value, event.style or "", start)
        tree = self.node(event, events, depth + 1)
        if isinstance(tree, Leaf) and isinstance(tree.value, str):
            return Leaf(tree.value, tree.text, tree.style, start)
        braces = self.text.startswith("{", start) and self.text[:start].endswith("{")
        fix = 'put the template in quotes: "{{ … }}"' if braces else None
        self.note("wrong-type", "a key must be text", start - braces, fix)
        return None

    def merge(self, value: Tree) -> Mapping[str, Entry]:
        """Return what `<<` brings in: the entries of a mapping, or of several, the first counting."""
        tables = value.items if isinstance(value, Items) else (value,)
        found: dict[str, Entry] = {}
        for table in tables:
            if isinstance(table, Table):
                for name, entry in table.entries.items():
                    found.setdefault(name, entry)
            else:
                self.note("wrong-type", "<< takes mappings", table.start)
        return found

    def grown(self, size: int, more: Tree, start: int) -> int:
        """Return the size of a node with `more` below it, aliases counted as what they stand for."""
        if size + more.size > _MOST_NODES:
            self.note("too-large", f"more than {_MOST_NODES} values, anchors expanded", start)
            raise _Stop
        return size + more.size
