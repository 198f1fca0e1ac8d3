"""The balancer's playbooks with HAProxy itself."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playbook_run import play

pytestmark = pytest.mark.lab

CONFIGURATION = """
global
  stats socket {folder}/admin.sock mode 600 level admin
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend front
  bind 127.0.0.1:{port}
  default_backend app
backend app
  server app-1 127.0.0.1:1
  server app-2 127.0.0.1:2 disabled
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Path]:
    """An inventory of one balancer, this machine, on which HAProxy runs."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is missing; `apt-get install haproxy` brings it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "haproxy.cfg").write_text(CONFIGURATION.format(folder=tmp_path, port=port))
    running = subprocess.Popen([program, "-f", str(tmp_path / "haproxy.cfg"), "-db"])
    deadline = time.monotonic() + 10
    while not (tmp_path / "admin.sock").exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    known = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "balancer_socket": str(tmp_path / "admin.sock"),
        "balancer_backend": "app",
    }
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {"lb": known}}}))
    yield hosts
    running.terminate()
    running.wait()


@pytest.mark.parametrize(("server", "drains"), [("app-1", True), ("app-2", False)])
def test_a_server_is_drained_and_attached_and_a_second_run_changes_nothing(
    inventory: Path, server: str, drains: bool
) -> None:
    names = ["lb_drain"] * drains + ["lb_attach"]
    for name in names:
        assert play(name, inventory, "--check", variables={"node": server}).changed == 1
        assert [play(name, inventory, variables={"node": server}).changed for _ in range(2)] == [1, 0]
