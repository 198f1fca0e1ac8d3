"""Keeps the packages in which Ansible sends its own modules to hosts, so that each is made once and not in each run.

Ansible makes such a package when a run first needs a module, from the module and the utilities that it imports, and keeps it
in the run's temporary folder. One of a module of Ansible's own, made of nothing but Ansible's own, is the same in every run:
it is linked out of the run that made it, and into those that come after.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any


class Payloads:
    """Packages in a private folder; they last as long as the server, which ends when any file of Ansible changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._constants = importlib.import_module("ansible.constants")
        self._loader = importlib.import_module("ansible.plugins.loader").module_utils_loader
        package = Path(importlib.import_module("ansible").__file__ or "").parent
        self._modules = package / "modules"
        self._utilities = package / "module_utils"

    def install(self) -> None:
        """Have Ansible use them in this process, and in what is forked off it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        common = importlib.import_module("ansible.executor.module_common")
        build = common._find_module_utils  # noqa: SLF001 - where packages are made; without it nothing here is fit

        def build_or_take(*, module_path: str, **given: Any) -> Any:
            name = f"ansible.modules.{Path(module_path).stem}-" if self._ours(module_path) else ""
            own = Path(self._constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache"
            if name:
                self._link(self._folder, own, name)
            built = build(module_path=module_path, **given)
            if name:
                self._link(own, self._folder, name)
            return built

        common._find_module_utils = build_or_take  # type: ignore[attr-defined]  # noqa: SLF001

    def _ours(self, path: str) -> bool:
        """Return whether a module is Ansible's own, and everything that it may import is."""
        if Path(path).parent != self._modules:
            return False
        places = map(Path, self._loader._get_paths(subdirs=False))  # noqa: SLF001 - where Ansible itself looks for utilities
        return not any(place.is_dir() and place != self._utilities for place in places)

    @staticmethod
    def _link(source: Path, target: Path, name: str) -> None:
        """Link what is in one folder and not in the other; what cannot be linked is made anew."""
        with contextlib.suppress(OSError):
            for each in source.iterdir():
                if each.name.startswith(name) and not each.name.endswith((".lock", "-part")):
                    target.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with contextlib.suppress(FileExistsError):
                        (target / each.name).hardlink_to(each)
