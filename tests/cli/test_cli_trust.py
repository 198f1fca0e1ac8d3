"""Trust is earned by numbers: what a runbook did, and what it would have done, counted case by case."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest

from engine.model.decision import Change, Entry, Hold, Verdict
from engine.model.incident import Attempt, Incident, IncidentState, Outcome
from engine.records.store import Record
from tests.cli.cli_project import RUNBOOK, Project

HOUR = 3600.0
SENTENCE = "Hold: runbook memory-short is in shadow: it would have run 'Restart the service'"


def case(record: Record, number: int, became: IncidentState, after: float | None, code: str = "shadow") -> None:
    """Write an incident that a runbook in shadow would have acted on, and what became of it."""
    at = time.time() - 24 * HOUR + number * HOUR
    name = f"inc-{number}"
    verdicts = tuple(Verdict("mode", False, each, SENTENCE.removeprefix("Hold: ")) for each in code.split(","))
    entry = Entry("decision", SENTENCE, name, "web-1", "memory-short", code)
    incident = Incident(
        name, "web-1", "memory", became, at, runbook="memory-short", changed_at=at,
        ended_at=None if after is None else at + after,
    )  # fmt: skip
    put(record, Change(0, at, (entry,), incident=incident, decision=Hold(verdicts)))


def tried(record: Record, number: int, outcome: Outcome) -> None:
    """Write an attempt with its outcome."""
    at = time.time() - 24 * HOUR + number * HOUR
    name = f"inc-{number}"
    attempt = Attempt(
        f"att-{number}", name, "memory-short", "d", 0, "Restart the service", None, f"run-{number}", at, at + 60, outcome,
        "web-1",
    )  # fmt: skip
    incident = Incident(name, "web-1", "memory", IncidentState.RESOLVED, at, ended_at=at + 60, attempt=attempt)
    put(record, Change(0, at, incident=incident))


def put(record: Record, change: Change) -> None:
    from dataclasses import replace

    assert record.commit(replace(change, version=record.standing(time.time()).version))


def trust(project: Project) -> dict[str, object]:
    (row,) = json.loads(project.run("trust", "memory-short", "-o", "json").out)
    return dict(row)


def in_mode(project: Project, mode: str) -> None:
    project.write("runbooks/memory-short.yml", RUNBOOK.replace("mode: auto", f"mode: {mode}"))


def test_a_shadow_counts_what_it_would_have_done_and_what_healed_without_it(project: Project) -> None:
    in_mode(project, "shadow")
    with project.record as record:
        for number in range(4):
            case(record, number, IncidentState.RESOLVED, 1000.0)
        case(record, 4, IncidentState.SELF_HEALED, 60.0)
        case(record, 5, IncidentState.SELF_HEALED, 4000.0)
        case(record, 6, IncidentState.OPEN, None, code="shadow,cooldown")
    row = trust(project)
    assert len(row["would"]) == 6, "what another guard held would not have run"  # type: ignore[arg-type]
    assert row["healed_alone"] == 1
    assert row["ran"] == 0
    assert str(row["advice"]).startswith("would have run 6 times; 1 healed without help within 5m: 5 could have")
    assert str(row["advice"]).endswith("this speaks for approve")


def test_what_heals_without_help_speaks_for_patience(project: Project) -> None:
    in_mode(project, "shadow")
    with project.record as record:
        for number in range(5):
            case(record, number, IncidentState.SELF_HEALED, 10.0)
    assert "too eager" in str(trust(project)["advice"])


@pytest.mark.parametrize(
    ("mode", "outcomes", "words"),
    [
        ("shadow", (), "nothing to judge by"),
        ("approve", (), "nothing speaks for more, or for less"),
        ("approve", (Outcome.RESOLVED,) * 5, "5 of 5 runs healed, none did harm: this speaks for auto"),
        ("approve", (Outcome.RESOLVED,) * 4, "few to judge by"),
        ("approve", (Outcome.RESOLVED, Outcome.INEFFECTIVE) * 3, "find out why the others did not"),
        ("auto", (Outcome.RESOLVED,) * 3, "3 of 3 runs healed, none did harm"),
        ("auto", (Outcome.INEFFECTIVE,) * 5, "lower it to approve"),
        ("auto", (Outcome.RESOLVED,) * 9 + (Outcome.HARMFUL,), "did harm 1 time in 10 runs; lower its mode"),
    ],
)
def test_each_mode_is_told_what_its_numbers_speak_for(
    project: Project, mode: str, outcomes: Sequence[Outcome], words: str
) -> None:
    in_mode(project, mode)
    with project.record as record:
        for number, outcome in enumerate(outcomes):
            tried(record, number, outcome)
    assert words in str(trust(project)["advice"])


def test_what_was_approved_and_ran_is_not_counted_as_what_would_have(project: Project) -> None:
    in_mode(project, "approve")
    with project.record as record:
        case(record, 1, IncidentState.OPEN, None, code="held_for_approval")
        case(record, 2, IncidentState.OPEN, None, code="held_for_approval")
        tried(record, 1, Outcome.RESOLVED)
    row = trust(project)
    assert [each["incident"] for each in row["would"]] == ["inc-2"]  # type: ignore[attr-defined]
    assert row["ran"] == 1


def test_people_read_one_runbook_case_by_case(project: Project) -> None:
    in_mode(project, "shadow")
    with project.record as record:
        case(record, 1, IncidentState.SELF_HEALED, 60.0)
        case(record, 2, IncidentState.ESCALATED, None)
    shown = project.run("trust", "memory-short")
    assert "1 healed without help within 5m" in shown.out.replace("\n", " ")
    rows = [line for line in shown.out.splitlines() if "inc-" in line]
    assert "self-healed" in rows[0]
    assert "60.0s" in rows[0]
    assert "escalated" in rows[1]
    assert "Restart the service" in shown.out
    assert project.run("trust").out.startswith("RUNBOOK")
    assert project.run("trust", "memory-shirt").code == 64
