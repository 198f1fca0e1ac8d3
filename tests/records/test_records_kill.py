"""Every commit that was acknowledged is readable after SIGKILL, and none is there in part."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.records.history import History
from engine.records.store import Record
from tests.records.nouns import NOW

WRITER = Path(__file__).with_name("writer.py")


def kill_at(path: Path, lines: int, wait: float) -> dict[str, int]:
    """Run the writer, kill it a moment after its n-th line, and return the last number it acknowledged of each kind."""
    acknowledged = {"commit": 0, "event": 0}
    with subprocess.Popen([sys.executable, str(WRITER), str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for seen, line in enumerate(child.stdout, start=1):
            kind, number = line.split()
            acknowledged[kind] = int(number)
            if seen == lines:
                threading.Timer(wait, child.kill).start()
    assert child.returncode == -signal.SIGKILL
    return acknowledged


def survive(path: Path, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(rounds):
        acknowledged = kill_at(path, dice.randint(1, 40), dice.random() * 0.02)
        with Record(path) as record:
            standing, history = record.standing(NOW), History(record)
            version = standing.version
            assert acknowledged["commit"] <= version <= acknowledged["commit"] + 1
            assert record.follow("e1") >= acknowledged["event"]
            assert [one.reason for one in standing.incidents] == [str(version)]
            assert {one.value for one in standing.alerts} == {float(version)}
            assert [lock.target for lock in standing.locks] == ["web1"]
            assert len(standing.executions) == (version - 1) % 2
            assert history.verify_chain() == 2 * version
            assert standing.pauses == ()


def test_what_was_acknowledged_survives_sigkill(path: Path) -> None:
    survive(path, rounds=2, seed=1)


@pytest.mark.e2e
def test_what_was_acknowledged_survives_sigkill_time_and_again(path: Path) -> None:
    survive(path, rounds=30, seed=2)
