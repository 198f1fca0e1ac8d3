"""An operator's run that is interrupted leaves nothing behind that goes on, or that a later engine would do unasked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.executor import processes
from engine.model.standing import Request
from engine.records.desk import Desk
from engine.records.history import History
from engine.records.schema import requests
from engine.records.store import Record

PROGRAM = "import sys; from engine.cli.main import main; sys.argv[0] = 'mendbook'; main()"
SETTINGS = "sources: {host: false}\ninterval: 1s\ninventory: hosts.yml\nrunbooks: runbooks\nplaybooks: playbooks\n"
HOSTS = "all: {vars: {ansible_connection: local}, hosts: {one: {}, two: {}}}\n"
RUNBOOK = """\
runbook: endless
summary: Never ends.
trigger: {alert: Endless, expr: endless > 0}
localize: {resource: disk}
remedies: [{name: Wait, playbook: wait.yml, timeout: 5m}]
verify: {expr: endless == 0, within: 3s}
"""
PLAYBOOK = """\
- name: Wait
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin
      ansible.builtin.debug: {msg: begun}
    - name: Wait
      ansible.builtin.command: sleep 300
"""


def lay_out(root: Path) -> None:
    """Write a project whose remedy never ends."""
    (root / "runbooks").mkdir()
    (root / "playbooks").mkdir()
    (root / "mendbook.yml").write_text(SETTINGS)
    (root / "hosts.yml").write_text(HOSTS)
    (root / "runbooks" / "endless.yml").write_text(RUNBOOK)
    (root / "playbooks" / "wait.yml").write_text(PLAYBOOK)


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    lay_out(tmp_path)
    command = [sys.executable, "-c", PROGRAM, "run", "endless", "--limit", "one"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if " playbook " in line:
            break
    os.kill(run.pid, number)
    rest, _ = run.communicate(timeout=60)
    with Record(tmp_path / ".mendbook" / "record.sqlite3") as record:
        (execution,) = History(record).executions()
        standing = record.standing(time.time())
    assert (run.returncode, execution.state) == (130, "canceled"), rest
    assert not processes.marked(execution.id)
    assert (standing.executions, standing.requests) == ((), ())


def test_a_request_that_is_withdrawn_is_not_done_later(tmp_path: Path) -> None:
    with Record(tmp_path / "record.sqlite3") as record:
        desk = Desk(record)
        desk.request(Request("req-1", "run", "me@here", "", 1.0, "endless", ("one",)))
        assert desk.withdraw("req-1", "me@here")
        assert record.standing(2.0).requests == ()
        assert not desk.withdraw("req-1", "me@here")
        with record.reading() as connection:
            assert connection.execute(select(requests.c.finished)).scalar_one()
