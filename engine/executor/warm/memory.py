"""Remembers what texts say, so that each run need not read the same ones of Ansible's own again.

Ansible describes its plugins in YAML, and its own collection in a file of seven thousand lines; both are read whenever a run
first needs them. What a text says depends on nothing but the text, and the place that it is tagged with. So it is kept by these:
once as what it says, which is a forked process's own to take, and as bytes, of which copies are made for whoever asks again.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any

_READERS = ("ansible.plugins.loader", "ansible.parsing.plugin_docs", "ansible.utils.plugin_docs")
"""The modules that read descriptions of plugins; they call `yaml.load`."""
_MOST = 2000


class Memory:
    """What texts say, by the texts. It learns while `learning` is set; afterwards it only remembers."""

    def __init__(self) -> None:
        self.learning = True
        self._known: dict[Hashable, bytes] = {}
        self._whole: dict[Hashable, Any] = {}

    def recall(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """Return what a text says: from memory, or by reading it."""
        if key in self._whole:
            return self._whole.pop(key)
        known = self._known.get(key)
        if known is not None:
            return pickle.loads(known)  # noqa: S301 - our own, and it never left this process
        said = read()
        if self.learning and len(self._known) < _MOST:
            self._known[key] = pickle.dumps(said, pickle.HIGHEST_PROTOCOL)
        return said

    def dump(self) -> bytes:
        """Return everything that is known."""
        return pickle.dumps(self._known, pickle.HIGHEST_PROTOCOL)

    def take(self, dumped: bytes) -> None:
        """Know what another process of ours has learnt, and learn no more."""
        self._known = pickle.loads(dumped)  # noqa: S301 - it comes from a process forked off this one, through our private folder
        self._whole = {key: pickle.loads(known) for key, known in self._known.items()}  # noqa: S301 - likewise
        self.learning = False


class _Reading:
    """The module `yaml` as the readers of descriptions see it: `load` remembers, everything else is what it was."""

    def __init__(self, yaml: ModuleType, memory: Memory) -> None:
        self._yaml = yaml
        self._memory = memory
        tags = importlib.import_module("ansible._internal._datatag._tags")
        self._origin, self._trust = tags.Origin, tags.TrustedAsTemplate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._yaml, name)

    def load(self, stream: Any, Loader: Any) -> Any:  # noqa: N803 - as yaml calls it
        """Return what a text says; what is no text is read as ever."""
        if not isinstance(stream, str):
            return self._yaml.load(stream, Loader=Loader)
        origin = self._origin.get_tag(stream)
        place = None if origin is None else (origin.path, origin.description, origin.line_num, origin.col_num)
        key = (str(stream), place, self._trust.is_tagged_on(stream), Loader.__module__, Loader.__name__)
        return self._memory.recall(key, lambda: self._yaml.load(stream, Loader=Loader))


def install() -> Memory:
    """Have Ansible remember in this process, and in what is forked off it."""
    memory = Memory()
    for name in _READERS:
        module = importlib.import_module(name)
        module.yaml = _Reading(module.yaml, memory)  # type: ignore[attr-defined]
    finder = importlib.import_module("ansible.utils.collection_loader._collection_finder")
    read = finder._meta_yml_to_dict  # noqa: SLF001 - which Ansible means to be replaced by what keeps results

    def meta_to_dict(text: bytes | str, content: Any) -> Any:
        return memory.recall(("meta", text, content), lambda: read(text, content))

    finder._meta_yml_to_dict = meta_to_dict  # type: ignore[attr-defined]  # noqa: SLF001
    return memory
