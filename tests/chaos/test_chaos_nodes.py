"""On real nodes: each action has its effect, its undo leaves nothing of it, and a drill that is killed is undone by the next one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.chaos.actions import CHAOS_MESH, OWN
from engine.chaos.experiment import Hit, Injection
from engine.chaos.inject import InjectionError, Injector
from engine.chaos.journal import Journal
from engine.chaos.place import Node
from engine.chaos.probes import Shell, answers_ssh
from engine.model.runbook import Scalar

pytestmark = pytest.mark.lab
HERE = Path(__file__).parents[2]
FULL = "[ $(df --output={} /var/log | tail -n 1 | tr -dc 0-9) -gt 70 ]"
OPEN = "[ $(ls /proc/$(systemctl show -P MainPID chaos-descriptors.service)/fd | wc -l) -gt 200 ]"
RESIDENT = (
    "systemctl show -P MainPID chaos-memory.service | xargs -I{} awk '/VmRSS/{exit !($2 > 40000)}' /proc/{}/status"
)
MADE = "install -d /srv/.tried && echo one > /srv/.tried/file && echo two > /srv/.tried/other"
GONE = "rm -rf /srv/.tried"
INTACT = "[ $(cat /srv/.tried/file) = one ] && [ $(stat -c %a /srv/.tried/file) = 644 ] && [ $(cat /srv/.tried/other) = two ]"

SLEEPER = "systemctl is-active -q tried.service || systemd-run --collect --unit=tried.service sleep 600"

EFFECTS: dict[str, tuple[dict[str, Scalar], str]] = {
    "process": ({"process": "sleep", "signal": 9, "unit": "tried.service", "recoverCmd": SLEEPER}, "! systemctl is-active -q tried.service"),
    "stress-cpu": ({"workers": 1, "load": 20}, "systemctl is-active -q chaos-cpu.service"),
    "stress-mem": ({"size": "50M", "ramp": "1s"}, RESIDENT),
    "disk-fill": ({"path": "/var/log/.tried/filled.log.1", "size": "80%", "fill-by-fallocate": True}, FULL.format("pcent")),
    "network-loss": ({"percent": "5"}, "nft list table inet chaos"),
    "network-partition": ({"ip-address": "192.0.2.1"}, "nft list table inet chaos"),
    "network-down": ({"device": "lo", "duration": "1s", "every": "2s"}, "systemctl is-active -q chaos-network.service"),
    "file-create": ({"file-name": "/srv/.tried/new"}, "test -e /srv/.tried/new"),
    "file-modify": ({"file-name": "/srv/.tried/file", "privilege": 600}, "[ $(stat -c %a /srv/.tried/file) = 600 ]"),
    "file-delete": ({"dir-name": "/srv/.tried"}, "! test -e /srv/.tried"),
    "file-rename": ({"source-file": "/srv/.tried/file", "dest-file": "/srv/.tried/else"}, "! test -e /srv/.tried/file"),
    "file-append": ({"file-name": "/srv/.tried/file", "data": "[broken", "count": 2}, "[ $(wc -l < /srv/.tried/file) = 3 ]"),
    "file-replace": ({"file-name": "/srv/.tried/file", "origin-string": "one", "dest-string": "none"}, "grep -q none /srv/.tried/file"),
    "directory-remove": ({"path": "/srv/.tried"}, "! test -e /srv/.tried"),
    "file-flip": ({"newest": "/srv/.tried/long*"}, "! md5sum -c --quiet /srv/.tried/sums"),
    "inodes-fill": ({"path": "/var/log/.tried", "count": "7000"}, FULL.format("ipcent")),
    "deleted-hold": ({"path": "/var/log/.tried.log", "size": "120M"}, FULL.format("pcent")),
    "remount-read-only": ({"path": "/srv"}, "! touch /srv/.writable"),
    "descriptors-exhaust": ({"limit": "256"}, OPEN),
    "zombies": ({"count": "20"}, "[ $(ps -eo stat= | grep -c ^Z) -ge 20 ]"),
    "certificate-age": ({"path": "/srv/.tried/tls.pem", "left": "24h"}, "! openssl x509 -in /srv/.tried/tls.pem -noout -checkend 172800"),
}  # fmt: skip
PREPARED = {
    "process": SLEEPER,
    "file-flip": "head -c 100000 /dev/urandom > /srv/.tried/long && md5sum /srv/.tried/long > /srv/.tried/sums",
    "certificate-age": "openssl req -x509 -newkey rsa:2048 -nodes -keyout /srv/.tried/k -out /srv/.tried/c -subj /O=Lab/CN=ledger -days 90 "
    "&& cat /srv/.tried/c /srv/.tried/k > /srv/.tried/tls.pem",
}
NEED_SERVICES = {"table-flip", "table-drop"}
ELSEWHERE = {"power-off", "engine-kill", "traffic"}
"""What is done on the controller."""


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.3)
    return held


def hit(action: str, node: str, duration: float = 120.0) -> Hit:
    parameters = EFFECTS[action][0]
    return Hit(Injection("tried", action, parameters, duration), node, None, parameters)


@pytest.fixture
def node(nodes: dict[str, Node], shell: Shell) -> Node:
    """A web node with a few files to be broken."""
    chosen = nodes.get("web1") or next(iter(nodes.values()))
    assert shell.holds(chosen, f"{GONE}; {MADE}")
    return chosen


def test_every_action_is_tried_on_a_node() -> None:
    assert set(EFFECTS) | NEED_SERVICES | ELSEWHERE == set(CHAOS_MESH) | set(OWN)


@pytest.mark.parametrize("action", EFFECTS)
def test_an_action_has_its_effect_and_its_undo_leaves_nothing_of_it(
    action: str, node: Node, shell: Shell, injector: Injector
) -> None:
    seen = EFFECTS[action][1]
    if action in PREPARED:
        assert shell.holds(node, PREPARED[action])
    assert not shell.holds(node, seen)
    undo, at = injector.inject("tried", hit(action, node.name), node)
    assert abs(at - time.time()) < 120
    assert eventually(lambda: shell.holds(node, seen)), "no effect"
    assert [each.id for each in injector.journal.pending()] == [undo.id]
    injector.undo(undo)
    assert injector.journal.pending() == ()
    assert eventually(lambda: not shell.holds(node, seen)), "it is still there"
    assert shell.holds(node, INTACT)
    injector.undo(undo)  # a second time does no harm
    assert shell.holds(node, f"{INTACT} && ! ls -d /srv/.chaos-* /var/lib/chaos/* 2>/dev/null | grep .")


def test_an_undo_leaves_alone_what_a_remedy_has_put_right(node: Node, shell: Shell, injector: Injector) -> None:
    undo, _ = injector.inject("tried", hit("file-append", node.name), node)
    assert shell.holds(node, "echo mended > /srv/.tried/file")
    injector.undo(undo)
    assert shell.holds(node, "[ $(cat /srv/.tried/file) = mended ]")
    undo, _ = injector.inject("tried", hit("file-delete", node.name), node)
    assert shell.holds(node, "install -d /srv/.tried && echo restored > /srv/.tried/file")
    injector.undo(undo)
    assert shell.holds(node, "[ $(cat /srv/.tried/file) = restored ]")


def test_what_lasts_ends_by_the_nodes_own_clock(node: Node, shell: Shell, injector: Injector) -> None:
    injector.inject("tried", hit("network-partition", node.name, duration=3.0), node)
    assert eventually(lambda: not shell.holds(node, "systemctl is-active -q chaos-network.service"))
    assert eventually(lambda: shell.holds(node, "! nft list table inet chaos"))


def test_a_node_that_is_cut_off_from_everybody_comes_back_and_is_undone(
    node: Node, shell: Shell, injector: Injector
) -> None:
    cut = Injection("cut", "network-partition", {}, 8.0)
    undo, _ = injector.inject("tried", Hit(cut, node.name, None), node)
    assert eventually(lambda: not answers_ssh(node)), "it still answers"
    injector.undo(undo)
    assert answers_ssh(node)
    assert shell.holds(node, "! nft list table inet chaos")


KILLED = """
import json, os, signal, sys
from pathlib import Path
from engine.chaos.experiment import Hit, Injection
from engine.chaos.inject import Injector
from engine.chaos.journal import Journal
from engine.chaos.place import nodes_of
from engine.config.inventory import load_inventory
folder, inventory, name, parameters = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
node = nodes_of(load_inventory([inventory]))[name]
injector = Injector(Journal(folder / "journal"), folder, print)
injector.inject("killed", Hit(Injection("x", "disk-fill", parameters, 120.0), name, None), node)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_drill_killed_between_injection_and_undo_is_undone_by_the_next_one(
    node: Node, inventory: Path, shell: Shell, tmp_path: Path, injector: Injector
) -> None:
    parameters, seen = EFFECTS["disk-fill"]
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(inventory), node.name, json.dumps(parameters)]
    done = subprocess.run(command, cwd=HERE, check=False, timeout=240)
    assert done.returncode == -signal.SIGKILL
    assert shell.holds(node, seen)
    assert len(Journal(tmp_path / "journal").pending()) == 1
    assert injector.undo_all() == 1
    assert not shell.holds(node, seen)


def test_an_injection_that_cannot_be_made_says_why_and_leaves_its_undo(node: Node, injector: Injector) -> None:
    nothing = Injection("x", "file-modify", {"file-name": "/srv/none", "privilege": 600}, 60.0)
    with pytest.raises(InjectionError, match="inject of file-modify on"):
        injector.inject("tried", Hit(nothing, node.name, None), node)
    assert len(injector.journal.pending()) == 1
    assert injector.undo_all() == 1
