"""The demo cluster from outside: start it, look at it, end it without a trace of processes."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.lab import control, files, process
from engine.lab.settings import WEB_NODES, Layout

_START_SECONDS = 30.0
_END_SECONDS = 5.0
_LOOK_EVERY = 0.03
_PAGE_SECONDS = 2.0


class ClusterError(Exception):
    """The cluster cannot be started, reached or ended; the message says why."""


class Cluster:
    """A running demo cluster below one directory.

    Unless it was started with `keep`, it ends with the process that started it, however that one ends.
    """

    def __init__(self, directory: Path, *, manager: subprocess.Popen[bytes] | None = None, lifeline: int = -1) -> None:
        self.directory = directory
        self.layout = Layout(directory)
        self._manager = manager
        self._lifeline = lifeline

    @classmethod
    def start(cls, directory: Path, *, seed: int = 0, keep: bool = False) -> Cluster:
        """Start a cluster below `directory` and return when every node serves. Raises ClusterError."""
        layout = Layout(directory.absolute())
        _clear(layout)
        layout.private.mkdir(parents=True)
        command = [sys.executable, "-P", "-m", "engine.lab.manager", str(layout.root), "--seed", str(seed)]
        ours, theirs = (-1, -1)
        if not keep:
            theirs, ours = os.pipe()
            command += ["--owner", str(os.getpid()), "--lifeline", str(theirs)]
        with layout.log.open("ab") as log:
            manager = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is the owner's business, not the cluster's
                pass_fds=[theirs] if theirs >= 0 else [],
            )
        if theirs >= 0:
            os.close(theirs)
        cluster = cls(layout.root, manager=manager, lifeline=ours)
        try:
            cluster._wait_until_it_serves(manager)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def attach(cls, directory: Path) -> Cluster:
        """Return the cluster that runs below `directory`. Raises ClusterError when none does."""
        cluster = cls(directory.absolute())
        if not Layout(cluster.directory).socket.exists():
            raise ClusterError(f"no demo cluster runs below {directory}; `mendbook demo --keep` leaves one running")
        try:
            cluster.status()
        except control.ControlError as error:
            raise ClusterError(f"no demo cluster runs below {directory}: {error}") from error
        return cluster

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the nodes by name, as the manager's `status` tells. Raises ControlError."""
        return control.status(self.directory)

    def node(self, name: str) -> dict[str, Any]:
        """Return what the manager knows of one node. Raises ControlError, also for an unknown node."""
        nodes = self.status()
        if name not in nodes:
            raise control.ControlError(f"unknown node {name!r}")
        return nodes[name]

    def figures(self, name: str, metric: str) -> dict[str, float]:
        """Return one metric of a node's page, by its labels as they stand there.

        Raises ControlError, also when the node does not answer.
        """
        url = f"http://127.0.0.1:{self.node(name)['port']}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=_PAGE_SECONDS) as answer:
                page = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise control.ControlError(f"{name} does not show its figures: {error}") from error
        found = (re.fullmatch(rf"{re.escape(metric)}(?:\{{(.*)\}})? (\S+)", line) for line in page.splitlines())
        return {match[1] or "": float(match[2]) for match in found if match is not None}

    def stop(self) -> None:
        """End every process of the cluster; safe to repeat."""
        try:
            if self._manager is None or self._manager.poll() is None:
                down(self.directory)
        finally:
            if self._manager is not None and self._manager.poll() is None:
                self._manager.terminate()  # it may not have come as far as its socket
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1
            if self._manager is not None:
                self._reap(self._manager)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _reap(self, manager: subprocess.Popen[bytes]) -> None:
        try:
            manager.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            manager.kill()
            manager.wait()

    def _wait_until_it_serves(self, manager: subprocess.Popen[bytes]) -> None:
        """Return when the balancer has every web node in rotation."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if manager.poll() is not None:
                break
            if self.layout.private_socket.exists() and self._in_rotation():
                return
            time.sleep(_LOOK_EVERY)
        complaints = self.layout.log.read_text(errors="replace").strip()[-2000:] if self.layout.log.exists() else ""
        raise ClusterError(
            f"the demo cluster below {self.directory} did not start; {self.layout.log} ends with:\n{complaints}"
        )

    def _in_rotation(self) -> bool:
        servers = self.figures("lb", "haproxy_server_status")
        return len(servers) == WEB_NODES and all(servers.values())


def down(directory: Path) -> bool:
    """End the cluster that runs below `directory`; return whether there was one.

    It is asked through its socket first. If that does not help, the processes that it wrote down are killed, but only
    those that are still the same: a number that has been given to another process is left alone.
    """
    layout = Layout(directory.absolute())
    known = files.read_pids(layout)
    try:
        control.command(layout.root, "shutdown", timeout=_END_SECONDS)
        found = True
    except control.ControlError:
        found = any(one.alive() for one in known)
        _signal(known, signal.SIGTERM)
    if not _gone(known):
        _signal(known, signal.SIGKILL)
        if not _gone(known):
            raise ClusterError(f"processes of the demo cluster below {directory} cannot be ended: {known}")
    for leftover in (layout.socket, layout.private_socket, layout.pids):
        leftover.unlink(missing_ok=True)
    return found


def _signal(known: list[process.Identity], number: signal.Signals) -> None:
    for one in known:
        if one.alive():
            try:
                os.kill(one.pid, number)
            except ProcessLookupError:
                continue


def _gone(known: list[process.Identity]) -> bool:
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        if not any(one.alive() for one in known):
            return True
        time.sleep(_LOOK_EVERY)
    return False


def _clear(layout: Layout) -> None:
    """Remove what an earlier cluster left in its directory; refuse to touch what is not a cluster's."""
    if any(one.alive() for one in files.read_pids(layout)):
        raise ClusterError(f"a demo cluster already runs below {layout.root}; `mendbook lab down` ends it")
    if layout.nodes.exists() and not layout.log.exists():
        raise ClusterError(f"{layout.nodes} was not made by a demo cluster; choose another directory")
    for folder in (layout.nodes, layout.private):
        if folder.exists():
            shutil.rmtree(folder)
    for file in (layout.socket, layout.pids, layout.log, layout.inventory, layout.traffic):
        file.unlink(missing_ok=True)
