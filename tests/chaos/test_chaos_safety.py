"""What no drill touches, and what no end of a drill loses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chaos.choose import candidates, hits, order
from engine.chaos.experiment import Experiment, Injection, Pick
from engine.chaos.inject import InjectionError, Injector, journalled, variables_of
from engine.chaos.journal import Journal, Undo
from engine.chaos.place import DrillError, Node, Place, RefusedError, frozen_inventory, nodes_of
from engine.chaos.shelf import find
from engine.config.inventory import load_inventory, read
from engine.config.settings import Settings

HERE = Path(__file__).parents[2]


def inventory(**variables: object) -> dict[str, dict[str, dict[str, object]]]:
    return {
        "lab": {"hosts": ["web1"]},  # type: ignore[dict-item]
        "_meta": {"hostvars": {"web1": {"ansible_host": "127.89.72.12", "ansible_port": 2222, **variables}}},
    }


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ansible_host": "10.0.0.5"}, "10.0.0.5, which is not one of the lab's addresses"),
        ({"ansible_host": "127.0.0.1"}, "which is not one of the lab's addresses"),
        ({"ansible_host": "web1.example.com"}, "which is not one of the lab's addresses"),
        ({"ansible_host": "::ffff:127.89.72.12"}, "which is not one of the lab's addresses"),
        ({"ansible_connection": "local"}, "not reached by SSH"),
        ({"ansible_ssh_common_args": "-o ProxyJump=bastion"}, "by way of another host"),
        ({"ansible_ssh_extra_args": "-J bastion"}, "by way of another host"),
        ({"ansible_ssh_common_args": "-o Hostname=10.0.0.5"}, "by way of another host"),
    ],
)
def test_a_host_that_is_not_the_labs_own_is_refused(variables: dict[str, object], said: str) -> None:
    with pytest.raises(RefusedError, match="nothing is injected") as caught:
        nodes_of(read((), inventory(**variables)))
    assert said in str(caught.value)


def test_an_inventory_without_the_group_lab_is_refused() -> None:
    listed = inventory()
    listed["web"] = listed.pop("lab")
    with pytest.raises(RefusedError, match="no group 'lab'"):
        nodes_of(read((), listed))


def test_a_drill_takes_no_more_of_an_inventory_along_than_it_needs() -> None:
    nodes = nodes_of(read((), inventory(vault_password="s3cret", ansible_become_password="s3cret")))
    assert "s3cret" not in frozen_inventory(tuple(nodes.values()))


def test_the_playbook_itself_refuses_other_hosts(tmp_path: Path) -> None:
    hosts = {
        "web1": {
            "ansible_host": "127.0.0.1",
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
    }
    (tmp_path / "inventory.json").write_text(json.dumps({"lab": {"hosts": hosts}}))
    marker = tmp_path / "broken"
    playbook = HERE / "engine" / "chaos" / "playbooks" / "chaos.yml"
    given_ = {"chaos_tasks": "file_create_inject.yml", "chaos_file_name": str(marker), "chaos_id": "x"}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", tmp_path / "inventory.json", "-e", json.dumps(given_), playbook],
        capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert "Faults are injected into one node of the lab" in done.stdout
    assert not marker.exists()


def place(*names: str, groups: dict[str, str] | None = None) -> Place:
    nodes = {
        name: Node(name, frozenset({"lab", (groups or {}).get(name, "web")}), {"ansible_host": "127.89.72.12"})
        for name in names
    }
    return Place(Path(), Settings(Path()), nodes)


def experiment(name: str, **changes: object) -> Experiment:
    injection = Injection(
        **{"name": name, "action": "process", "parameters": {}, "duration": 60.0, "groups": ("web",), **changes}
    )  # type: ignore[arg-type]
    return Experiment(name, "", (injection,), Path(), "0")


@given(st.integers(), st.integers(1, 9), st.integers(1, 6))
def test_repeats_take_turns_among_the_nodes_and_the_seed_alone_chooses(seed: int, first: int, many: int) -> None:
    there = place(*(f"web{number}" for number in range(many)))
    one = experiment("x")
    turn = [hits(one, number, there, {}, seed)[0].node for number in range(first, first + many)]
    assert sorted(turn) == sorted(there.nodes)
    assert turn == [hits(one, number, there, {}, seed)[0].node for number in range(first, first + many)]


@given(st.integers(), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), unique=True, max_size=12))
def test_the_order_is_a_shuffle_in_which_repeats_stay_in_order(seed: int, wanted: list[tuple[str, int]]) -> None:
    known = {name: experiment(name) for name in "abc"}
    turns = [(known[name], number) for name, number in wanted]
    shuffled = order(turns, seed)
    assert sorted((each.name, number) for each, number in shuffled) == sorted(wanted)
    for name in "abc":
        numbers = [number for each, number in shuffled if each.name == name]
        assert numbers == sorted(numbers)
    assert shuffled == order(turns, seed)


def test_a_host_outside_the_lab_cannot_be_named_by_an_experiment() -> None:
    with pytest.raises(RefusedError, match="db9 is no node of the lab"):
        candidates(experiment("x", hosts=("db9",), groups=()).injections[0], place("web1"), {})


def test_more_nodes_than_there_are_is_refused() -> None:
    with pytest.raises(DrillError, match="wants 3 nodes, and there are 1"):
        hits(experiment("x", pick=Pick.FIXED, count=3), 1, place("web1"), {}, 0)


def test_the_primary_is_who_is_primary_now() -> None:
    there = place("db1", "db2", groups={"db1": "db", "db2": "db"})
    wanted = find("data-lost").injections[0]
    assert candidates(wanted, there, {"db1": "replica", "db2": "primary"}) == ["db2"]
    with pytest.raises(RefusedError, match="no primary"):
        candidates(wanted, there, {})


def undo(name: str = "a", at: float = 1.0, action: str = "disk-fill") -> Undo:
    return Undo(
        name,
        "drill-1",
        action,
        "web1",
        {"path": "/var/log/x", "size": "10M"},
        '{"lab": {"hosts": {"web1": {}}}}',
        60.0,
        at,
    )


def test_what_is_in_the_journal_survives_and_comes_back_the_newest_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.pending() == ()
    for number, name in enumerate("abc"):
        journal.write(undo(name, at=float(number)))
    assert [each.id for each in Journal(tmp_path / "journal").pending()] == ["c", "b", "a"]
    assert journal.pending()[0] == undo("c", at=2.0)
    journal.done(undo("b"))
    journal.done(undo("b"))
    assert [each.id for each in journal.pending()] == ["c", "a"]


def test_a_journal_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.path("broken").write_text("{")
    with pytest.raises(DrillError, match=r"undo by hand what it names"):
        journal.pending()


def test_half_a_file_is_no_entry_for_nothing_was_done_yet(tmp_path: Path) -> None:
    (tmp_path / "a.new").write_text('{"id": ')
    assert Journal(tmp_path).pending() == ()


def test_one_drill_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.alone(), pytest.raises(DrillError, match="another drill works"), Journal(tmp_path).alone():
        pytest.fail("two drills at once")


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.chaos.journal import Journal, Undo
journal = Journal(Path(sys.argv[1]))
with journal.alone():
    journal.write(Undo("a", "d", "disk-fill", "web1", {}, "{}", 60.0, 1.0))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_drill_that_is_killed_after_the_journal_leaves_its_undo_to_the_next_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=HERE, check=False)
    assert done.returncode == -signal.SIGKILL
    with Journal(tmp_path).alone():
        assert [each.id for each in Journal(tmp_path).pending()] == ["a"]


def test_an_undo_that_fails_stays_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(undo(action="power-off"))
    injector = Injector(journal, tmp_path, lambda _: None)
    with pytest.raises(InjectionError, match="no fence_on_command"):
        injector.undo_all()
    assert len(journal.pending()) == 1


def test_the_switch_of_a_nodes_power_comes_back_from_the_journal_as_it_was(tmp_path: Path) -> None:
    switch = ["mendbook", "lab", "power", "web1", "on"]
    (node,) = nodes_of(read((), inventory(fence_on_command=switch))).values()
    journal = Journal(tmp_path / "journal")
    journal.write(Undo("a", "drill-1", "power-off", "web1", {}, frozen_inventory((node,)), 60.0, 1.0))
    (pending,) = journal.pending()
    assert journalled(pending).command("fence_on_command") == node.command("fence_on_command") == tuple(switch)


def test_parameters_reach_the_playbook_under_names_of_their_own() -> None:
    down = Undo(
        "1.5-x", "d", "network-down", "web1", {"device": "eth0", "duration": "3s", "every": "1m"}, "{}", 90.0, 1.0
    )
    told = variables_of(down, "inject")
    assert (told["chaos_lasts"], told["chaos_duration"], told["chaos_every_seconds"]) == (90, "3s", 60)
    assert told["chaos_id"] == "1-5-x"
    assert told["chaos_tasks"] == "network_down_inject.yml"


def test_the_shipped_inventory_of_examples_is_refused() -> None:
    with pytest.raises(RefusedError):
        nodes_of(load_inventory([HERE / "engine" / "config" / "localhost.yml"]))
