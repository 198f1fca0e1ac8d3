"""Imports in the server what a rehearsal has imported, without letting it get in anybody's way."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

_NEVER = (
    "__",
    "ansible_collections",
    "ansible.plugins.vars",
    "ansible.plugins.callback.",
)
"""What must be loaded by each run itself: what finds the project's own, and what reads the environment while it is loaded."""


def load(names: Iterable[str]) -> None:
    """Import these modules, where they can be imported by their names."""
    before = set(sys.modules)
    for name in names:
        if name not in sys.modules and not name.startswith(_NEVER):
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - a run will find out whether it matters
                continue
    plugins = {name: sys.modules[name] for name in set(sys.modules) - before if name.startswith("ansible.plugins.")}
    _step_aside(plugins)


def _step_aside(early: dict[str, ModuleType]) -> None:
    """Have a project's own plugin win over one of Ansible's that was imported before its time.

    Ansible knows plugins by names that do not tell where they lie, and the first one loaded stays. What is here too early
    is taken for loaded only when it is the one that is wanted.
    """
    loader = importlib.import_module("ansible.plugins.loader").PluginLoader
    original = loader._load_module_source  # noqa: SLF001 - there is no other place; without it nothing here is fit

    @functools.wraps(original)
    def load_module_source(self: Any, *, python_module_name: str, path: str) -> ModuleType:
        module = early.pop(python_module_name, None)
        if module is not None and module.__file__ != path and sys.modules.get(python_module_name) is module:
            del sys.modules[python_module_name]
        loaded: ModuleType = original(self, python_module_name=python_module_name, path=path)
        return loaded

    loader._load_module_source = load_module_source  # noqa: SLF001
