"""A dozen secrets, each by another way in, are found nowhere afterwards: whether it went well, failed, or was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, Told, play, wait

pytestmark = pytest.mark.e2e

WAYS = (
    "variable", "nested", "address", "lines", "environment", "ansible", "inventory", "become", "vault", "sealed", "set",
    "included", "hushed", "looped", "inline", "header",
)  # fmt: skip


@dataclass
class Planted:
    """Where each secret went in, and what it is."""

    bench: Bench
    values: dict[str, str] = field(default_factory=lambda: {way: f"planted-{way}-{os.getpid()}-x" for way in WAYS})

    def step(self, name: str, *more: str) -> PlannedStep:
        """Return a step that says every secret aloud, in every way it can."""
        every = (
            "{{ api_token }} {{ database.password }} {{ repository }} {{ signing_key }} "
            "{{ lookup('env', 'DATABASE_PASSWORD') }} {{ lookup('env', 'ANSIBLE_SOMETHING_TOKEN') }} "
            "{{ from_inventory_password }} {{ ansible_become_password }} {{ vaulted }} {{ whole }}"
        )
        tasks = (
            f'name: all\ndebug: {{msg: "{every}"}}',
            f'name: run {{{{ api_token }}}}\ncommand: echo "{every}"',
            f"name: set\nset_fact: {{admin_password: {self.values['set']}}}",
            'name: say what was set\ndebug: {msg: "it is {{ admin_password }}"}',
            "name: include\ninclude_vars: {file: included.yml}",
            'name: say what was included\ndebug: {msg: "it is {{ harmless }}"}',
            f"name: hush\ncommand: echo {self.values['hushed']}\nno_log: true",
            f"name: each\ncommand: echo {{{{ item }}}}\nloop: [{self.values['looped']}]\nno_log: true",
            f'name: write\ncopy: {{content: "{every}", dest: "{{{{ playbook_dir }}}}/out"}}\ndiff: true',
            f'name: leak\ndebug: {{msg: "password={self.values["inline"]} Authorization: Bearer {self.values["header"]}"}}',
        )
        variables = {
            "api_token": self.values["variable"],
            "database": {"password": self.values["nested"], "host": "db"},
            "repository": f"https://reader:{self.values['address']}@example.test/x.git",
            "signing_key": f"-----BEGIN PRIVATE KEY-----\n{self.values['lines']}\n-----END PRIVATE KEY-----",
        }
        return PlannedStep(self.bench.playbook(name, play(*tasks, *more)), ("one",), variables)

    def found(self, *more: Told) -> list[str]:
        """Return where which secret is found: in the executions' folders, or in what was reported."""
        places = [(str(path), path.read_bytes()) for path in self.bench.directory.rglob("*") if path.is_file()]
        places += [("reported", repr(each).encode()) for each in more]
        return [
            f"{way} in {place}"
            for place, text in places
            for way, value in self.values.items()
            if value.encode() in text
        ]


@pytest.fixture
def planted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Planted:
    it = Planted(bench)
    password = bench.root / "vault-password"
    password.write_text("open sesame\n")

    def vault(*words: str, text: str) -> str:
        command = [
            Path(sys.executable).parent / "ansible-vault",
            words[0],
            f"--vault-password-file={password}",
            *words[1:],
        ]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    hosts, group = bench.root / "host_vars" / "one", bench.root / "group_vars" / "all"
    hosts.mkdir(parents=True)
    group.mkdir(parents=True)
    (hosts / "x.yml").write_text(
        f"ansible_become_password: {it.values['become']}\nfrom_inventory_password: {it.values['inventory']}\n"
        + vault("encrypt_string", "--stdin-name", "vaulted", text=it.values["vault"])
        + "\n"
    )
    (group / "vault.yml").write_text(vault("encrypt", text=f"whole: {it.values['sealed']}\n"))
    (bench.root / "playbooks" / "included.yml").write_text(
        vault("encrypt", text=f"harmless: {it.values['included']}\n")
    )
    bench.environment = {"DATABASE_PASSWORD": it.values["environment"], "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    monkeypatch.setenv("ANSIBLE_SOMETHING_TOKEN", it.values["ansible"])
    return it


def test_a_run_that_goes_well_keeps_no_secret(planted: Planted) -> None:
    told = planted.bench.run(planted.step("leak.yml"), diff=True)
    assert told.report.state is ExecutionState.SUCCESSFUL, told.text
    assert {"all", "say what was set", "say what was included", "leak"} <= {event.task for event in told.events}
    assert planted.found(told) == []


def test_a_run_that_fails_keeps_no_secret(planted: Planted) -> None:
    bad = (
        'name: fail\nfail: {msg: "{{ api_token }} {{ whole }} {{ vaulted }} {{ admin_password }} {{ harmless }}"}',
        "name: never\ndebug:",
    )
    told = planted.bench.run(planted.step("bad.yml", *bad), diff=True)
    assert told.report.state is ExecutionState.FAILED
    assert planted.found(told) == []
    broken = "name: broken\ncommand: \"/bin/sh -c 'echo {{ api_token }} >&2; echo {{ whole }}; exit 3'\""
    told = planted.bench.run(planted.step("broken.yml", broken))
    assert told.kinds("failed")
    assert planted.found(told) == []


@pytest.mark.parametrize("both", [False, True], ids=["supervisor", "supervisor and warden"])
def test_a_supervisor_that_is_killed_in_the_middle_leaves_no_secret(planted: Planted, both: bool) -> None:
    bench = planted.bench
    stay = 'name: stay\ncommand: "sleep 90"\nenvironment: {X: "{{ api_token }}"}'
    execution = bench.execution(planted.step("stay.yml", stay))
    bench.executor.start(execution)
    bench.started_task(execution.id, "stay")
    supervisor = int((bench.directory / execution.id / "lock").read_text())
    parent = int(Path(f"/proc/{supervisor}/stat").read_bytes().rpartition(b")")[2].split()[1])
    for pid in (parent, supervisor) if both else (supervisor,):
        os.kill(pid, signal.SIGKILL)
    told = bench.follow(execution.id)
    assert told.report.state is ExecutionState.LOST
    wait(lambda: planted.found(told) == [], "a folder without secrets")
