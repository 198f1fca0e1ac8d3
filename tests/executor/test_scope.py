"""A scope of systemd's for a supervisor, where systemd runs; otherwise where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.executor import scope


def test_systemd_is_asked_for_a_scope_that_holds_this_process_and_leaves_what_is_below_it_to_it() -> None:
    words = scope.call("run-1", 4711, user=False)
    assert words[:3] == ["busctl", "--system", "call"]
    assert words[6:9] == ["StartTransientUnit", "ssa(sv)a(sa(sv))", "mendbook-run-1.scope"]
    assert words[words.index("PIDs") :][:4] == ["PIDs", "au", "1", "4711"]
    assert words[words.index("Delegate") :][:3] == ["Delegate", "b", "true"]
    assert words[10] == str(sum(words.count(name) for name in ("PIDs", "Delegate", "Description", "CollectMode")))
    assert scope.call("run-1", 1, user=True)[1] == "--user"


def test_where_systemd_does_not_run_a_supervisor_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scope, "_RUNS", tmp_path / "absent")
    before = Path("/proc/self/cgroup").read_text()
    assert not scope.move("run-1")
    assert Path("/proc/self/cgroup").read_text() == before


def test_a_systemd_that_will_not_costs_no_execution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program of that name that refuses, as one without privileges does."""
    (tmp_path / "busctl").write_text("#!/bin/sh\necho 'Call failed: Access denied' >&2\nexit 1\n")
    (tmp_path / "busctl").chmod(0o755)
    monkeypatch.setattr(scope, "_RUNS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not scope.move("run-1")
    assert "no scope of its own: Call failed: Access denied" in capsys.readouterr().err
    (tmp_path / "busctl").unlink()
    assert not scope.move("run-1")
    assert "No such file" in capsys.readouterr().err


@pytest.mark.lab
@pytest.mark.skipif(not scope.runs() or shutil.which("busctl") is None, reason="systemd does not run this machine")
def test_a_process_moves_into_a_scope_of_its_own() -> None:
    name = f"test-{os.getpid()}"
    code = f"from engine.executor import groups, scope; print(scope.move({name!r}), groups.create('x') is not None); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "True True"
        assert scope.name(name) in Path(f"/proc/{child.pid}/cgroup").read_text()
