"""What executions leave goes when it is old or too much, and only when the record knows how they ended."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.app.rotation import Rotation
from engine.config.settings import load_settings
from engine.model.decision import Change
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.records.history import History
from engine.records.store import Record

DAY = 86_400.0


def ended(directory: Path, name: str, at: float, size: int = 0) -> None:
    """Lay out the folder of an execution that is over."""
    (directory / name).mkdir(parents=True)
    (directory / name / "result.json").write_text(json.dumps({"ended_at": at}))
    (directory / name / "output").write_bytes(b"x" * size)


def recorded(record: Record, name: str, state: ExecutionState) -> None:
    """Put an execution into the record."""
    first = Execution(name, "a", "", "r", "d", "m", f"host-{name}", (PlannedStep("p.yml", (f"host-{name}",)),))
    for each in (first, replace(first, state=state)):
        assert record.commit(Change(version=record.standing(0.0).version, at=time.time(), execution=each))


def test_only_what_the_record_has_closed_goes(tmp_path: Path) -> None:
    directory, now = tmp_path / "executions", time.time()
    with Record(tmp_path / "record.sqlite3") as record:
        for number in range(25):
            ended(directory, f"new-{number:02}", now - number)
        for name in ("old", "old-and-open", "old-and-unknown"):
            ended(directory, name, now - 40 * DAY)
        recorded(record, "old", ExecutionState.FAILED)
        recorded(record, "old-and-open", ExecutionState.RUNNING)
        recorded(record, "old-and-unknown-2", ExecutionState.FAILED)
        rotation = Rotation(directory, History(record), keep=30 * DAY, most=1 << 30)
        assert rotation.once() == ("old",)
        assert rotation.once() == ()
    assert len(list(directory.iterdir())) == 27


def test_a_record_that_cannot_be_read_costs_nothing_but_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "executions"
    for number in range(30):
        ended(directory, f"old-{number}", 1.0)
    with Record(tmp_path / "record.sqlite3") as record:
        history = History(record)
    (tmp_path / "record.sqlite3").unlink()
    (tmp_path / "record.sqlite3").write_bytes(b"not a database" * 100)
    rotation = Rotation(directory, history, keep=DAY, most=1 << 30)
    assert rotation.once() == ()
    assert len(list(directory.iterdir())) == 30


@pytest.mark.parametrize(
    ("written", "keep", "most"),
    [
        ("{}", 30 * DAY, 1 << 30),
        ("{keep: 7d, max_bytes: 500MiB}", 7 * DAY, 500 << 20),
        ("{max_bytes: 2 GB}", 30 * DAY, 2_000_000_000),
        ("{max_bytes: 4096}", 30 * DAY, 4096),
    ],
)
def test_age_and_size_stand_in_the_settings(tmp_path: Path, written: str, keep: float, most: int) -> None:
    path = tmp_path / "mendbook.yml"
    path.write_text(f"executor: {written}\n")
    settings = load_settings(path, tmp_path)
    assert (settings.keep_output, settings.most_output) == (keep, most)
