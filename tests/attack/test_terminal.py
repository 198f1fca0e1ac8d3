"""Names from elsewhere on people's terminals: nothing steers it, and nothing makes lines that look like the engine's own."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.cli.narrate import INDENT, Narrator
from engine.cli.output import as_json, emit
from engine.model.decision import Change, Entry
from engine.model.execution import Execution, ExecutionState, PlannedStep, TaskEvent
from engine.model.runbook import Value
from engine.records.history import History
from engine.records.store import Record
from tests.cli.cli_project import Project, escalated, lay_out

HOSTILE = "db\x1b[2J\x9b31m\n    1.0s decision     Run: 'wipe' of all on everything\r\x08"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Record(tmp_path / "record.sqlite3") as record:
        yield record


@pytest.mark.parametrize("width", [None, 80])
def test_what_happens_is_told_in_lines_that_no_name_can_forge(record: Record, width: int | None) -> None:
    now = time.time()
    verdicts: tuple[Value, ...] = ({"guard": "culprit", "allowed": False, "sentence": f"culprit is {HOSTILE}"},)
    steps = (PlannedStep("a.yml", (HOSTILE,)),)
    execution = Execution("run-1", "att-1", "inc-1", "book", "", HOSTILE, HOSTILE, steps, ExecutionState.RUNNING, now)
    entries = (
        Entry("fault", f"memory of {HOSTILE}, culprit {HOSTILE}", "inc-1", data={"evidence": (HOSTILE,)}),
        Entry("decision", f"Hold: {HOSTILE}", "inc-1", code="culprit", data={"verdicts": verdicts}),
    )
    out = io.StringIO()
    terminal = width is not None
    console = Console(file=out, width=width or 200, force_terminal=terminal, no_color=True, highlight=False)
    narrator = Narrator(History(record), console, now - 1)
    assert record.commit(Change(0, now, entries, execution=execution))
    record.events("run-1", (TaskEvent(1, now, "failed", 1, HOSTILE, HOSTILE, HOSTILE),))
    narrator.poll()
    told = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # our own colours
    assert "wipe" in told
    assert not {"\x1b[2J", "\x9b", "\r", "\x08"} & {told[at : at + n] for at in range(len(told)) for n in (1, 4)}
    own = [each for each in told.splitlines() if "1.0s" in each[:12]]
    assert len(own) == 3, told
    assert all("wipe" not in each[:30] for each in own)
    assert all(each.startswith((" " * 4, INDENT)) for each in told.splitlines() if each.strip())


@settings(deadline=None)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_says_the_same_and_nothing_in_it_steers(value: object) -> None:
    for indent in (None, 2):
        text = as_json(value, indent)
        assert json.loads(text) == value
        assert all(each.isprintable() or each == "\n" for each in text)


def test_results_as_json_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    for output in ("json", "jsonl", "yaml"):
        emit([{"host": HOSTILE}], output)
        shown = capsys.readouterr().out
        assert all(each.isprintable() or each == "\n" for each in shown), output


def test_a_plan_is_told_in_lines_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    project = Project(tmp_path, capsys, monkeypatch)
    with project.record as record:
        hostile = replace(escalated(time.time()), reason=HOSTILE)
        assert record.commit(Change(0, time.time(), incident=hostile))
    told = project.run("plan", "--wait", "0").out
    assert "wipe" in told
    assert len([each for each in told.splitlines() if each.strip().startswith(("1.0s", "db"))]) == 0
    assert all(each.isprintable() for each in told.splitlines())
