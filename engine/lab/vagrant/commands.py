"""Runs other programs for a lab, so that none outlives what started it, and what they say is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.lab.vagrant.place import Lab
from engine.lab.vagrant.plan import LabError

MARK = "MENDBOOK_LAB_MARK"
TAIL = 15
_GRACE = 15.0
"""Seconds that a call to podman in the middle of something gets to end by itself."""
_LEFT_ALONE = frozenset({"conmon", "lxcfs"})
"""Programs that stay for as long as the nodes do, and are ended with them."""


def environment(lab: Lab) -> dict[str, str]:
    """Return the environment of programs that are called for a lab: podman's settings, Vagrant's folders, the lab's mark."""
    place = lab.place
    found = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "VAGRANT_"))}
    if home := os.environ.get("VAGRANT_HOME"):
        found["VAGRANT_HOME"] = home
    return found | {
        MARK: lab.mark,
        "MENDBOOK_LAB": str(place.state),
        "CONTAINERS_CONF": str(place.containers_conf),
        "LC_ALL": "C.UTF-8",
    }


@dataclass(frozen=True, slots=True)
class Commands:
    """Calls programs in a lab's environment; what they say goes to the lab's log too."""

    lab: Lab

    def run(self, *words: str | Path, timeout: float = 60.0, check: bool = True, text: str = "") -> str:
        """Return what a program prints. Raises LabError when it fails, or takes longer than `timeout` seconds."""
        with self.lab.place.log.open("a") as log:
            try:
                done = subprocess.run(
                    words,
                    input=text,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout,
                    check=False,
                    env=environment(self.lab),
                )
            except subprocess.TimeoutExpired as error:
                raise LabError(f"{said(words)} took longer than {timeout:.0f} s") from error
            except FileNotFoundError as error:
                raise LabError(f"{words[0]} is not installed; `mendbook lab needs` says what is missing") from error
            log.write(f"$ {said(words)} -> {done.returncode}\n{done.stderr}")
        if check and done.returncode:
            raise LabError(f"{said(words)} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def follow(
        self,
        *words: str | Path,
        heard: Callable[[str], None],
        timeout: float,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Run a program that takes a while, and hand over each line that it prints.

        It has a session of its own, is ended with all that it started when this is interrupted, and is killed by the kernel
        when this process dies. Raises LabError with its last lines when it fails.
        """
        lines: list[str] = []
        program = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**environment(self.lab), **(extra or {})},
        )
        late = threading.Timer(timeout, _kill_group, [program.pid])
        late.start()
        try:
            with self.lab.place.log.open("a") as log:
                log.write(f"$ {said(words)}\n")
                for line in program.stdout or ():
                    log.write(line)
                    log.flush()
                    lines = [*lines[-TAIL:], line.rstrip()]
                    heard(line.rstrip())
            code = program.wait()
        finally:
            slow = not late.is_alive()
            late.cancel()
            if program.poll() is None:
                _kill_group(program.pid)
                program.wait()
            if program.stdout is not None:
                program.stdout.close()
        if slow:
            raise LabError(f"{said(words)} took longer than {timeout:.0f} s; {self.lab.place.log} says more")
        if code:
            raise LabError(f"{said(words)} failed; {self.lab.place.log} ends with:\n" + "\n".join(lines))


def end_strays(lab: Lab) -> int:
    """End what an interrupted command of this lab left at work; return how many processes there were.

    They are known by the mark in their environment. A call to podman is given time to end by itself, so that it leaves
    nothing half done.
    """
    found = strays(lab.mark)
    for pid, name in found.items():
        if name != "podman":
            _kill(pid)
    end = time.monotonic() + _GRACE
    while (left := strays(lab.mark)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        _kill(pid)
    return len(found)


def settle(lab: Lab) -> None:
    """Return when no process of the lab is left: what watched its containers takes a moment to end after them."""
    end = time.monotonic() + _GRACE
    while left := strays(lab.mark, frozenset()):
        if time.monotonic() > end:
            for pid in left:
                _kill(pid)
            end += _GRACE
        time.sleep(0.02)


def strays(mark: str, without: frozenset[str] = _LEFT_ALONE) -> dict[int, str]:
    """Return the running processes that carry a lab's mark, by number, with their names; without those that nodes need."""
    needle = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(OSError):
            if pid != os.getpid() and needle in (folder / "environ").read_bytes().split(b"\0"):
                name = (folder / "comm").read_text().strip()
                if name not in without:
                    found[pid] = name
    return found


def said(words: tuple[str | Path, ...]) -> str:
    """Return a command as people read it, not all of it when it is long."""
    text = " ".join(str(word) for word in words)
    return text if len(text) < 120 else f"{text[:117]}…"  # noqa: PLR2004  # a line of a terminal


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
