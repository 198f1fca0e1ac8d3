"""Times of the week arrive as they were meant, and the guards of a runbook with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.hours import hours
from engine.config.project import Layers, Settings
from engine.config.runbooks import load_runbooks
from engine.config.settings import shipped
from engine.config.variants import approvals
from engine.model.labels import Labels
from engine.model.runbook import Approval, Hours, Window
from engine.model.target import Fleet, Target

RUNBOOK = """\
runbook: disk-full
summary: A file system is nearly full.
params: {office: "Mon-Fri 09:00-17:00 Europe/Berlin"}
trigger: {alert: DiskFull, expr: node_filesystem_avail_bytes < 1e9}
localize: {resource: disk, culprit: {label: mountpoint}}
guards:
  serial: rack
  window: {not: "{{ office }}", only: [Sat 00:00-24:00 UTC, 22:00-06:00 UTC]}
  approval: always
  grace: 5m
remedies: [{name: Clear caches, playbook: space_clear.yml}]
verify: {expr: node_filesystem_avail_bytes > 1e9}
"""
EVERY = frozenset(range(7))


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("Mon-Fri 09:00-17:00 UTC", {0, 1, 2, 3, 4}, 540, 1020),
        ("09:00-17:00 UTC", EVERY, 540, 1020),
        ("Fri-Mon 9:00-17:00 UTC", {4, 5, 6, 0}, 540, 1020),
        ("sat,SUN 00:00-24:00 UTC", {5, 6}, 0, 1440),
        ("Mon,Wed-Thu 22:00-06:00 UTC", {0, 2, 3}, 1320, 360),
        ("Mon 17:00-00:00 UTC", {0}, 1020, 0),
    ],
)
def test_days_and_times_mean_what_they_say(text: str, days: set[int], start: int, end: int) -> None:
    assert hours(text) == Hours(text, frozenset(days), start, end, "UTC")


def load(tmp_path: Path, fleet: Fleet) -> tuple[object, ...]:
    path = tmp_path / "disk-full.yml"
    path.write_text(RUNBOOK)
    settings = Settings(root=tmp_path, playbooks=(shipped("playbooks"),))
    loaded = load_runbooks([path], fleet=fleet, settings=settings)
    return loaded.runbooks, [problem.code for problem in loaded.problems if problem.code == "unknown-name"]


def test_guards_arrive_with_params_filled_in(tmp_path: Path) -> None:
    (book,), problems = load(tmp_path, Fleet({"a": Target("a", variables=Labels({"rack": "r1"}))}))  # type: ignore[misc]
    assert problems == []
    assert (book.guards.serial, book.guards.approval, book.guards.grace) == ("rack", Approval.ALWAYS, 300.0)
    office = Hours("Mon-Fri 09:00-17:00 Europe/Berlin", frozenset(range(5)), 540, 1020, "Europe/Berlin")
    saturday = Hours("Sat 00:00-24:00 UTC", frozenset({5}), 0, 1440, "UTC")
    night = Hours("22:00-06:00 UTC", EVERY, 1320, 360, "UTC")
    assert book.guards.window == Window(only=(saturday, night), never=(office,))


def test_a_variable_to_be_serial_by_that_no_host_has_is_told(tmp_path: Path) -> None:
    _, problems = load(tmp_path, Fleet({"a": Target("a")}))
    assert problems == ["unknown-name"]


def test_of_two_groups_the_more_careful_approval_counts_and_a_host_says_it_best() -> None:
    layers = Layers(Approval.NEVER, {"lab": Approval.NEVER, "prod": Approval.ALWAYS}, {"c": Approval.DESTRUCTIVE})
    fleet = Fleet({
        name: Target(name, frozenset(groups))
        for name, groups in {"a": {"lab"}, "b": {"lab", "prod"}, "c": {"prod"}, "d": set()}.items()
    })  # fmt: skip
    assert approvals(layers, fleet) == {
        "a": Approval.NEVER, "b": Approval.ALWAYS, "c": Approval.DESTRUCTIVE, "d": Approval.NEVER,
    }  # fmt: skip
    assert approvals(Layers(), fleet) == {}
