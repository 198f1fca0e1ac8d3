"""ansible-playbook, imported and ready: what a process that was forked off the server does instead of starting it anew.

What Ansible decides while it is imported (settings, paths, colours, its log) it decided once, in the server, for the
environment that the server was started with. So a run is played here only if its environment is the same, but for what Ansible
reads when it is used, and if every file that was read to get here is what it was. Anything else starts cold.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import multiprocessing.util
import os
import random
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from engine.executor.processes import MARK
from engine.executor.warm import disguise, haste, memory
from engine.executor.warm.memory import Memory
from engine.executor.warm.starts import Cold, Reason

TESTED = frozenset({(2, 19)})
"""The series of ansible-core with which warm runs were held against cold ones."""

_LATE = frozenset(
    {
        "AWX_ISOLATED_DATA_DIR",
        "ANSIBLE_LOCAL_TEMP",
        "ANSIBLE_SSH_CONTROL_PATH_DIR",
        "SSH_AUTH_SOCK",
    }
)
"""Variables that are read when a run needs them; `ANSIBLE_LOCAL_TEMP` is looked up anew for each."""
_OURS = "MENDBOOK_"
_TEMPORARY = "DEFAULT_LOCAL_TMP"
_HIGHEST = 1 << 20
_OFTEN = (
    ("connection", "ssh"),
    ("become", "sudo"),
    ("action", "normal"),
    ("action", "gather_facts"),
    ("action", "template"),
)
"""Plugins that a rehearsal does not come across."""


class Unfit(Exception):  # noqa: N818 - an answer, not a mishap
    """Runs cannot be played here; says why."""


@dataclass(slots=True)
class Stage:
    """Ansible as this process has it; `lessons`, when it is set, is the file that a rehearsal writes what it imported to."""

    program: Path
    environment: Mapping[str, str]
    folder: Path
    lessons: Path | None = None
    memory: Memory = field(default_factory=Memory)
    _files: dict[Path, tuple[int, ...]] = field(default_factory=dict)

    def refusal(self, program: str, environment: Mapping[str, str]) -> Cold | None:
        """Return why a run with this environment is not the same here as if it began anew; None when it is."""
        if not self.program.samefile(program):
            return Cold(Reason.ENVIRONMENT, f"{program} is another ansible-playbook")
        for name in sorted({*environment, *self.environment} - _LATE):
            if not name.startswith(_OURS) and environment.get(name) != self.environment.get(name):
                return Cold(Reason.ENVIRONMENT, f"{name} is not what it was")
        return None

    def stale(self) -> Cold | None:
        """Return which file that was read to get here has changed since; None when none has."""
        for path, known in self._files.items():
            if _stamp(path) != known:
                return Cold(Reason.CHANGED, f"{path} has changed")
        return None

    def watch(self) -> None:
        """Know all files that were read up to now; those that settings may yet come to be in count too."""
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        paths = {self.program, Path(sys.executable).resolve(), *(Path(file) for file in modules if file)}
        paths |= {Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")}
        if "ANSIBLE_CONFIG" in self.environment:
            paths.add(Path(self.environment["ANSIBLE_CONFIG"]))
        self._files = {path: _stamp(path) for path in paths}

    def play(self, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        """Be ansible-playbook, in a process forked for nothing else."""
        code = 1
        try:
            os.closerange(3, _HIGHEST)  # pexpect waits for one of them, which an exec would close
            self._enter(arguments, environment)
            code = _run()
        except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as what it was forked off
            traceback.print_exc()
        finally:
            _leave(code)

    def _enter(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Make this process what a new one would be: its signals, its environment, and what it should not share."""
        disguise.mark(environment[MARK])
        disguise.rename([sys.executable, str(self.program), *arguments], self.program.name)
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [str(self.program), *arguments]
        random.seed()
        tempfile.tempdir = None
        _forget_exits()
        constants = importlib.import_module("ansible.constants")
        constants.set_constant(_TEMPORARY, constants.config.get_config_value(_TEMPORARY))
        importlib.import_module("ansible.utils.display").Display()._set_column_width()  # noqa: SLF001 - the terminal is another
        haste.install()
        if self.lessons is not None:
            atexit.register(self._write_lessons, self.lessons)

    def _write_lessons(self, path: Path) -> None:
        loader = importlib.import_module("ansible.plugins.loader")
        for kind, name in _OFTEN:
            getattr(loader, f"{kind}_loader").get(name, class_only=True)  # reads its description
        path.with_suffix(".memory").write_bytes(self.memory.dump())
        path.write_text("\n".join(list(sys.modules)), encoding="utf-8")


def build(program: Path, environment: Mapping[str, str], folder: Path) -> Stage:
    """Import Ansible as `program` would with this environment, in this folder; raises Unfit when that cannot stand for others."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(program)]
    sys.path[0] = str(program.parent)  # where a script finds modules, not where the server did
    try:
        release = importlib.import_module("ansible.release").__version__
        if tuple(map(int, release.split(".")[:2])) not in TESTED:
            raise Unfit(f"ansible-core {release} was not tested with warm starts")
        importlib.import_module("ansible.cli.playbook")
    except (ImportError, ValueError, SystemExit) as error:
        raise Unfit(f"ansible-core cannot be imported: {error}") from error
    constants = importlib.import_module("ansible.constants")
    if constants.DEFAULT_LOG_PATH:
        raise Unfit("log_path is set: the log would be opened once for all runs")
    for name in constants.config.get_configuration_definitions():
        if name != _TEMPORARY and _mentions(getattr(constants, name, None), str(folder)):
            raise Unfit(f"the setting {name} depends on the working directory")
    return Stage(program, dict(environment), folder, memory=memory.install())


def interpreter(program: Path) -> Path:
    """Return the interpreter that a script names in its first line; raises Unfit when it is none that this one can stand for."""
    try:
        with program.open("rb") as file:
            line = file.readline(512).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unfit(f"{program} cannot be read: {error}") from error
    named = Path(line.removeprefix("#!").strip())
    if not line.startswith("#!") or named.parent != Path(sys.executable).parent or not os.access(named, os.X_OK):
        raise Unfit(f"{program} is not run by an interpreter beside {sys.executable}, and nothing else")
    return named


def _mentions(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return text in value
    if isinstance(value, Mapping):
        return any(_mentions(one, text) for one in value.values())
    return isinstance(value, (list, tuple)) and any(_mentions(one, text) for one in value)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what tells one content of a file from the next; empty for a file that is not there."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _forget_exits() -> None:
    """Drop what the server would do at its own end, and begin with what every interpreter does at its end."""
    atexit._clear()  # noqa: SLF001 - as multiprocessing does in what it forks
    multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit.register(logging.shutdown)
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001


def _run() -> int:
    """Run the command line to its end and return the exit status, as an interpreter would."""
    try:
        importlib.import_module("ansible.cli.playbook").main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for threads, as the interpreter does at its end
        atexit._run_exitfuncs()  # noqa: SLF001
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
