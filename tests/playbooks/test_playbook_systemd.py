"""The playbooks on a host with systemd, for which a stand-in for `systemctl` writes down what it is asked."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playbook_run import Run, play

pytestmark = pytest.mark.e2e

SYSTEMCTL = """#!/bin/sh
printf '%s\\n' "$*" >> "{log}"
state=$(cat "{log}.state" 2>/dev/null || echo active)
case "$1" in
  show)
    case "$*" in
      *--value*) echo "$state" ;;
      *) printf 'Id=app.service\\nLoadState=loaded\\nActiveState=%s\\nUnitFileState=enabled\\n' "$state" ;;
    esac ;;
  is-active) echo "$state" ;;
  is-enabled) echo enabled ;;
  stop) echo inactive > "{log}.state" ;;
  start|restart) echo active > "{log}.state" ;;
esac
"""


class Host:
    """A host of the play: this machine with a stand-in for systemctl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "systemctl.log"
        (folder / "bin").mkdir()
        program = folder / "bin" / "systemctl"
        program.write_text(SYSTEMCTL.format(log=self._log))
        program.chmod(0o755)
        self._inventory = folder / "hosts.json"
        self.write_inventory({"app-1": {}})

    def write_inventory(self, hosts: dict[str, dict[str, str]]) -> None:
        """Make these the hosts of the play, each of them this machine."""
        known = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self._inventory.write_text(json.dumps({"all": {"vars": known, "hosts": hosts}}))

    def run(self, name: str, *arguments: str, **variables: object) -> Run:
        return play(name, self._inventory, *arguments, variables=variables, path=str(self.folder / "bin"))

    def acts(self) -> list[str]:
        """What systemctl was told to do, without what it was asked."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if line.split()[0] in ("start", "stop", "restart", "mask", "unmask", "enable")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def attempt() -> Iterator[str]:
    """An attempt's id that nobody used before; its marker goes when the test ends."""
    identity = str(uuid.uuid4())
    yield identity
    name = hashlib.sha256(f"{identity}\0restart app.service".encode()).hexdigest()
    folder = Path("/run/mendbook") if os.geteuid() == 0 else Path.home() / ".cache" / "mendbook"
    (folder / name).unlink(missing_ok=True)


def test_a_unit_is_restarted_once_for_an_attempt(host: Host, attempt: str) -> None:
    checked = host.run("service_restart", "--check", service="app.service", mendbook_attempt=attempt)
    assert (checked.changed, checked.failed, host.acts()) == (1, 0, [])
    first = host.run("service_restart", service="app.service", mendbook_attempt=attempt)
    assert (first.changed, first.failed, host.acts()) == (1, 0, ["restart app.service"])
    again = host.run("service_restart", service="app.service", mendbook_attempt=attempt)
    assert (again.changed, again.failed, host.acts()) == (0, 0, ["restart app.service"])


def test_a_restart_without_an_attempt_is_always_done(host: Host) -> None:
    host.run("service_restart", service="app.service")
    host.run("service_restart", service="app.service")
    assert host.acts() == ["restart app.service"] * 2


def test_what_cannot_name_a_unit_never_reaches_systemctl(host: Host) -> None:
    hostile = ["--host=evil", "app; touch pwned", "$(touch pwned)", "../app", "a\n", "-H evil", ""]
    host.write_inventory({f"app-{number}": {"service": service} for number, service in enumerate(hostile)})
    refused = host.run("service_restart", "--limit", "all")
    assert (refused.failed, refused.changed) == (len(hostile), 0)
    assert refused.output.count("is not the name of a systemd unit") >= len(hostile)
    assert host.acts() == []
    assert not list(host.folder.rglob("pwned*"))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("service_restart", "service"),
        ("data_restore", "data_directory"),
        ("replica_add", "replica_service"),
        ("space_clear", "space_paths"),
        ("cpu_relieve", "process_pattern"),
        ("node_cordon", "service"),
        ("lb_drain", "balancer_backend"),
        ("log_rotate", "log_paths"),
    ],
)
def test_a_missing_variable_is_named_and_nothing_is_done(host: Host, name: str, missing: str) -> None:
    refused = host.run(name)
    assert (refused.failed, refused.changed, host.acts()) == (1, 0, [])
    assert missing in refused.output


def test_data_is_restored_with_the_unit_stopped(host: Host) -> None:
    app = host.folder / "app"
    snapshot = app / "snapshots" / "20260101T000000Z"
    snapshot.mkdir(parents=True)
    (snapshot / "app.db").write_bytes(b"good")
    (snapshot / "SHA256SUMS").write_text(f"{hashlib.sha256(b'good').hexdigest()}  app.db\n")
    (app / "app.db").write_bytes(b"bad")
    variables = {"service": "app.service", "data_directory": str(app), "data_files": ["app.db"]}
    restored = host.run("data_restore", **variables)
    assert restored.failed == 0
    assert host.acts() == ["stop app.service", "start app.service"]
    assert (app / "app.db").read_bytes() == b"good"
    again = host.run("data_restore", **variables)
    assert (again.changed, len(host.acts())) == (0, 2)


def test_a_cordoned_unit_is_stopped_and_masked(host: Host) -> None:
    assert host.run("node_cordon", service="app.service").failed == 0
    assert host.acts() == ["mask app.service", "stop app.service"]


def test_a_replica_that_runs_and_is_enabled_is_left_alone(host: Host) -> None:
    result = host.run("replica_add", replica_service="app.service")
    assert (result.failed, result.changed, host.acts()) == (0, 0, [])
