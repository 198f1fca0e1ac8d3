"""Commands that look: what they print, for people and for programs."""

from __future__ import annotations

import json

import pytest
import yaml

from engine.model.decision import Change
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.model.incident import Incident, IncidentState
from tests.cli.cli_project import Project

LOOKS = {
    "status": ("status",),
    "incidents": ("incidents",),
    "incidents-live": ("incidents", "--state", "live"),
    "incidents-show": ("incidents", "show", "inc-h"),
    "runs": ("runs",),
    "runs-show": ("runs", "show", "run-healed"),
    "runs-logs": ("runs", "logs", "run-healed"),
    "locks": ("locks",),
    "why": ("why", "web-1"),
    "why-without-data": ("why", "store-1"),
    "why-expr": ("why", "web-1", "--expr", "memory_free_bytes < 100 and on (instance) up == 1"),
    "metrics-names": ("metrics",),
    "metrics-series": ("metrics", "list", "up"),
    "metrics-query": ("metrics", "query", "memory_free_bytes > 100"),
    "metrics-scalar": ("metrics", "query", "scalar(count(up)) * 2"),
}
ROWS = ("status", "incidents", "incidents-show", "runs", "runs-show", "locks", "why", "metrics-names", "metrics-query")


@pytest.mark.parametrize("name", LOOKS)
def test_what_people_read_is_as_agreed(past: Project, name: str) -> None:
    past.golden(name, past.run(*LOOKS[name]), aligned=False)  # moments differ in length


@pytest.mark.parametrize("name", ROWS)
def test_programs_get_the_same_in_json_and_yaml(past: Project, name: str) -> None:
    in_json, in_yaml = (past.run(*LOOKS[name], "-o", form) for form in ("json", "yaml"))
    lines = past.run(*LOOKS[name], "-o", "jsonl").out.splitlines()
    content = json.loads(in_json.out)
    assert content
    assert in_json.code == in_yaml.code == 0
    assert shape(content) == shape(yaml.safe_load(in_yaml.out))
    assert len(lines) == (len(content) if isinstance(content, list) else 1)
    assert all(json.loads(line) for line in lines)


def shape(content: object) -> object:
    """Return what is there without values that change from one call to the next."""
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
    if isinstance(content, list):
        return [shape(value) for value in content]
    return None if isinstance(content, float) else content


def test_a_run_that_takes_in_other_hosts_counts_them_and_says_what_it_is_for_as_it_is_shown(project: Project) -> None:
    steps = (PlannedStep("switch.yml", ("web-1", "web-2")), PlannedStep("move.yml", ("store-1",)))
    run = Execution("run-1", "att-1", "inc-1", "switch-over", "d", "Switch over", "web-1", steps, ExecutionState.FAILED,
                    1.0, 1.0, 2.0, reason="it is gone", message="exit 2")  # fmt: skip
    with project.record as record:
        assert record.commit(Change(0, 1.0, execution=run))
    listed, shown = project.run("runs").out, project.run("runs", "show", "run-1").out
    assert "web-1 +2" in listed
    assert listed.split("\n")[0].split()[-2:] == ["BECAUSE", "MESSAGE"]
    assert listed.split("\n")[1].rstrip().endswith("it is gone  exit 2")
    assert "message    exit 2" in shown
    assert ": it is gone" in shown


def test_the_numbers_of_why_are_there_for_programs(past: Project) -> None:
    (condition,) = json.loads(past.run("why", "web-1", "-o", "json").out)["conditions"]
    assert (condition["truth"], condition["state"], condition["needed"]) == ("true", "pending", 10800.0)
    assert 7800 <= condition["held"] < 8400
    (value,) = condition["comparisons"][0]["values"]
    assert (value["value"], value["limit"]) == (50.0, 100.0)


def test_why_as_of_earlier_reads_the_samples_and_the_record_of_then(past: Project) -> None:
    account = json.loads(past.run("why", "web-1", "--at", "9m", "-o", "json").out)
    (condition,) = account["conditions"]
    assert (condition["truth"], condition["state"]) == ("false", None)
    assert json.loads(past.run("why", "web-1", "--at", "5d", "-o", "json").out)["entries"] == []


def test_a_condition_without_data_is_unknown_and_says_what_lacks(past: Project) -> None:
    (condition,) = json.loads(past.run("why", "store-1", "-o", "json").out)["conditions"]
    assert condition["truth"] == "unknown"
    assert condition["missing"] == ["no series memory_free_bytes here"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), ["inc-waits", "inc-healed"]),
        (("--state", "escalated"), ["inc-waits"]),
        (("--state", "resolved"), ["inc-healed"]),
        (("--state", "live", "--target", "web-2"), []),
        (("--target", "web-2"), ["inc-healed"]),
        (("--since", "150m"), ["inc-healed"]),
        (("-n", "1"), ["inc-healed"]),
    ],
)
def test_incidents_are_listed_as_asked(past: Project, options: tuple[str, ...], ids: list[str]) -> None:
    listed = json.loads(past.run("incidents", *options, "-o", "json").out)
    assert [each["id"] for each in listed] == ids


def test_a_course_is_drawn_with_its_extremes_and_its_ends(past: Project) -> None:
    shown = past.run("metrics", "query", "memory_free_bytes", "--range", "8m")
    assert shown.code == 0
    first, *lines = shown.out.splitlines()
    assert first.startswith('memory_free_bytes{instance="web-1"}')
    assert any(line.startswith(" 50 ") for line in lines)
    assert any(0x2800 < ord(char) <= 0x28FF for line in lines for char in line)
    points = json.loads(past.run("metrics", "query", "up", "--range", "2m", "--step", "30s", "-o", "json").out)
    assert [len(each["points"]) for each in points] == [5, 5]


def test_many_courses_get_a_line_each(past: Project) -> None:
    query = " or ".join(f'label_replace(up, "copy", "{number}", "", "")' for number in range(4))
    shown = past.run("metrics", "query", query, "--range", "2m")
    assert len(shown.out.splitlines()) == 9
    assert "▄" in shown.out


def test_part_of_a_name_finds_metrics(past: Project) -> None:
    assert [each["metric"] for each in json.loads(past.run("metrics", "list", "free", "-o", "json").out)] == [
        "memory_free_bytes"
    ]
    assert json.loads(past.run("metrics", "list", "*_bytes", "-o", "json").out)[0]["series"] == 2


def test_names_from_elsewhere_do_not_steer_the_terminal(project: Project) -> None:
    evil = "web\x1b[2J\nlocks released\x07"
    with project.record as record:
        incident = Incident("inc-evil", evil, "memory\r", IncidentState.OPEN, 1.0, culprit="\x9b31m", reason=evil)
        assert record.commit(Change(0, 1.0, incident=incident, locks=frozenset({evil})))
    for command in (("status",), ("incidents",), ("incidents", "show", "inc-evil"), ("locks",)):
        shown = project.run(*command)
        assert shown.code == 0
        assert "web" in shown.out
        assert not {"\x1b", "\x07", "\x9b", "\r"} & set(shown.out + shown.err)
        assert not any(line.startswith("locks released") for line in shown.out.splitlines())


def test_a_project_without_a_past_has_nothing_to_show(project: Project) -> None:
    project.golden("status-at-first", project.run("status"))
    assert project.run("incidents").out == ""
    assert project.run("metrics").err.startswith("there are no samples yet")
    assert json.loads(project.run("runs", "-o", "json").out) == []
