"""Real nodes: they answer, are their own machines, stay where they are, and go without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.lab.vagrant import machines as vagrant_machines
from tests.lab_machines.machines_lab import SLOW, Machines, inspected, output, until

pytestmark = pytest.mark.lab

BUSY = "head -1 /proc/stat | awk '{print $2 + $3 + $4}'"
AVAILABLE = "awk '/^MemAvailable/{print $2}' /proc/meminfo"


def test_nodes_answer_and_know_each_other(machines: Machines) -> None:
    for name, other in (("web1", "web2"), ("web2", "web1")):
        assert machines.ssh(name, "hostname").strip() == name
        assert (
            machines.ssh(name, f"ping -c1 -W5 {other} >/dev/null && getent hosts {other}").split()[0]
            == machines.plan.node(other).address
        )
        assert machines.ssh(name, "systemctl is-system-running || true").strip() == "running"


def test_each_node_has_its_own_memory_figures(machines: Machines) -> None:
    before = {name: machines.number(name, AVAILABLE) for name in ("web1", "web2")}
    assert machines.number("web1", "awk '/^MemTotal/{print $2}' /proc/meminfo") == 512 * 1024
    said = machines.ssh("web1", 'python3 -c \'kept = b"x" * 209715200; print(open("/proc/meminfo").read())\'')
    held = float(said.partition("MemAvailable:")[2].split()[0])
    assert before["web1"] - held > 150_000
    assert abs(before["web2"] - machines.number("web2", AVAILABLE)) < 50_000


def test_each_node_has_its_own_cpu_figures(machines: Machines) -> None:
    assert machines.number("web1", "grep -c ^processor /proc/cpuinfo") == 1
    before = {name: machines.number(name, BUSY) for name in ("web1", "web2")}
    machines.ssh(
        "web1", "python3 -c 'import time\nwhile time.process_time() < 2: pass'"
    )  # two seconds of CPU, however long they take
    used = {name: machines.number(name, BUSY) - before[name] for name in ("web1", "web2")}
    assert used["web1"] > 150  # hundredths of a second
    assert used["web2"] < used["web1"] / 2


def test_a_full_disk_is_one_nodes_own(machines: Machines) -> None:
    free = "df --output=avail -k /var/log | tail -1"
    before = machines.number("web2", free)
    said = machines.ssh(
        "web1", "dd if=/dev/zero of=/var/log/full bs=1M 2>&1 || true; df --output=pcent /var/log | tail -1"
    )
    assert "No space left" in said
    assert said.split()[-1] == "100%"
    assert machines.number("web2", free) == pytest.approx(before, abs=2000)
    machines.ssh("web1", "rm /var/log/full")
    assert machines.number("web1", "df --output=itotal /var/log | tail -1") == pytest.approx(8000, rel=0.05)


def test_a_fenced_node_stays_off_until_it_is_told_to_come_on(machines: Machines) -> None:
    assert machines.power("web1") == "on"
    with ThreadPoolExecutor() as pool:  # who comes second finds it done
        said = sorted(pool.map(lambda _: machines.power("web1", "off"), range(3)))
    assert said == ["off", "off already", "off already"]
    container = machines.plan.node("web1").container
    end = time.monotonic() + 3
    while time.monotonic() < end:  # the restart policy would bring it back at once
        state = inspected(container)["State"]
        assert isinstance(state, dict)
        assert not state["Running"]
        assert machines.power("web1") == "off"
    with (
        pytest.raises(OSError, match="refused"),
        socket.create_connection((machines.plan.node("web1").loopback, 2222), timeout=2),
    ):
        pass
    assert machines.power("web1", "on") == "on"
    until(lambda: vagrant_machines.answers(machines.plan.node("web1"), 1.0))


def test_a_node_reboots_by_ansible_and_has_another_boot_id(machines: Machines) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = {name: machines.ssh(name, boot) for name in ("web1", "web2")}
    assert before["web1"] != before["web2"]
    ansible = Path(sys.executable).with_name("ansible")
    words = ["-i", str(machines.folder / "inventory"), "web2", "-m", "ansible.builtin.reboot"]
    done = subprocess.run([ansible, *words], capture_output=True, text=True, timeout=SLOW, check=False)
    assert done.returncode == 0, done.stdout
    assert "rebooted" in done.stdout
    assert machines.ssh("web2", boot) != before["web2"]
    assert machines.ssh("web1", boot) == before["web1"]


def test_nothing_of_a_node_leaves_the_labs_network(machines: Machines) -> None:
    accepted: list[object] = []
    with socket.create_server(("0.0.0.0", 0)) as here:
        here.settimeout(0.2)
        port, stopped = here.getsockname()[1], threading.Event()

        def listen() -> None:
            while not stopped.is_set():
                try:
                    accepted.append(here.accept())
                except TimeoutError:
                    continue

        listener = threading.Thread(target=listen)
        listener.start()
        own = {line.split()[3].split("/")[0] for line in output("ip", "-4", "-o", "address").splitlines()} - {
            "127.0.0.1"
        }
        gateway = str(machines.plan.subnet[1])
        assert gateway in own
        try:
            for address in (*sorted(own), "198.51.100.7"):
                said = machines.ssh(
                    "web1", f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>&1 || echo held back"
                )
                assert "held back" in said, address
        finally:
            stopped.set()
            listener.join()
    assert accepted == []
    rejected = [
        line for line in output("nft", "list", "table", "inet", machines.plan.name).splitlines() if "counter" in line
    ]
    assert any("packets 0 " not in line for line in rejected if "saddr != " not in line)
    assert machines.ssh("web1", "getent hosts example.org || echo unknown").strip() == "unknown"
    assert "default" in machines.ssh("web1", "ip route")  # there is a way, and it is closed


def test_the_way_to_a_node_that_is_not_there_leads_nowhere(machines: Machines) -> None:
    assert f"unreachable {machines.plan.subnet} " in output("ip", "route")


def test_up_again_changes_nothing(machines: Machines) -> None:
    before = {node.name: inspected(node.container)["Id"] for node in machines.plan.nodes}
    machines.make()
    assert {node.name: inspected(node.container)["Id"] for node in machines.plan.nodes} == before


def test_two_labs_live_side_by_side(machines: Machines, other: Machines) -> None:
    other.make()
    assert other.ssh("db1", "hostname").strip() == "db1"
    assert machines.ssh("web1", "hostname").strip() == "web1"
    there = machines.plan.node("web1").address
    said = other.ssh("db1", f"timeout 5 bash -c 'exec 3<>/dev/tcp/{there}/22' 2>&1 || echo held back")
    assert "held back" in said
    taken = Machines(other.folder.with_name("third"), other.index, ("lb",))
    refused = subprocess.run(taken.making(), capture_output=True, text=True, timeout=SLOW, check=False)
    assert refused.returncode == 1
    assert f"belongs to the lab in {other.folder}" in refused.stderr
    assert not taken.folder.exists()
    assert other.call("down").returncode == 0
    assert other.traces() == {}
    assert vagrant_machines.answering(machines.plan, 5.0) == {"web1": True, "web2": True}


@pytest.mark.parametrize("moment", ["begun", "container", "boots"])
def test_down_takes_away_what_a_killed_up_had_made(other: Machines, moment: str) -> None:
    def reached() -> bool:
        if moment == "begun":
            return (other.folder / "lab.json").exists()
        names = output("podman", "ps", "--all", "--format", "{{.Names}} {{.Status}}")
        return f"{other.plan.name}-" in names and (
            moment == "container" or " Up " in names.partition(other.plan.name)[2]
        )

    up = subprocess.Popen(other.making(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(reached, SLOW)
    finally:
        up.kill()
        up.wait()
    ended = other.call("down")
    assert ended.returncode == 0, ended.stderr
    assert other.traces() == {}
    again = other.call("down")
    assert again.returncode == 1
    assert "no " in again.stderr


def test_an_interrupted_up_says_how_to_go_on_and_how_to_end_it(other: Machines) -> None:
    up = subprocess.Popen(other.making(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        until((other.folder / "vagrant").exists, SLOW)
        refused = other.call("down")
        assert refused.returncode == 1
        assert f"process {up.pid} is at work" in refused.stderr
        os.kill(up.pid, signal.SIGINT)
        _, said = up.communicate(timeout=60)
    finally:
        up.kill()
        up.wait()
    assert up.returncode == 130
    assert "`mendbook lab down` takes away what was made" in said
    assert other.call("down").returncode == 0
    assert other.traces() == {}


def test_vagrant_makes_the_machines_by_hand_too(other: Machines, tmp_path: Path) -> None:
    prepared = subprocess.run(other.making("prepare"), capture_output=True, text=True, timeout=SLOW, check=False)
    assert prepared.returncode == 0, prepared.stderr
    environment = os.environ | {
        "MENDBOOK_LAB": str(other.folder / "lab.json"),
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dotfolder"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }

    def vagrant(*words: str) -> str:
        done = subprocess.run(
            ["vagrant", *words], capture_output=True, text=True, timeout=SLOW, check=False, env=environment,
            cwd=vagrant_machines.vagrantfile().parent,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    vagrant("up", "--provider=docker", "--no-provision")
    assert vagrant("ssh", "db1", "-c", "hostname").strip() == "db1"
    assert vagrant_machines.answering(other.plan, 30.0) == {"db1": True, "db2": True}
    assert "running" in vagrant("status", "db2")
    vagrant("destroy", "--force")
    assert other.call("status").returncode == 0
    assert other.call("down").returncode == 0
