"""`mendbook backtest` as people run it: beside an engine that lives, on what it collected and recorded; and cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.records.history import History
from engine.records.store import Record
from tests.e2e.watched import PATIENCE, PROGRAM, RUNBOOK, Watched

pytestmark = pytest.mark.e2e


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as made:
        yield made


def test_beside_the_engine_that_healed_it_the_replay_has_what_the_record_has(watched: Watched) -> None:
    watched.start()
    watched.until(lambda: watched.ticked() > 0, "ticking")
    watched.breaks()
    watched.until(lambda: watched.healed(1), "healed")
    with Record(watched.where, read_only=True) as record:
        (recorded,) = History(record).incidents()
    done = watched.run("backtest", "broken", "-o", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (known,) = found["known"]
    (firing,) = found["firings"]
    assert (known["id"], known["caught"], firing["known"]) == (recorded.id, True, [recorded.id])
    assert abs(firing["opened_at"] - recorded.opened_at) < PATIENCE
    assert found["runs"] >= 1

    (watched.root / "draft.yml").write_text(
        RUNBOOK.replace("runbook: broken", "runbook: patient").replace("broken > 0}", "broken > 0, for: 5m}")
    )
    patient = json.loads(watched.run("backtest", "./draft.yml", "--alone", "-o", "json").stdout)
    assert (patient["firings"], patient["known"][0]["caught"]) == ([], False)
    assert "`for` is 300s" in patient["known"][0]["why"]
    assert watched.run("backtest", "broken", "--detailed-exitcode").returncode == 2
    watched.stop()
    watched.check(1)


def test_one_that_is_cut_short_ends_at_once_and_says_so(watched: Watched) -> None:
    recording = watched.root / "long.om"
    lines = (f'broken{{instance="{each % 50}"}} 0 {1_795_000_000 + each // 50}\n' for each in range(1_000_000))
    recording.write_text("".join(lines) + "# EOF\n")
    begun = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "backtest", "broken", "--input", "long.om"],
        cwd=watched.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    files = Path(f"/proc/{begun.pid}/fd")
    deadline = time.monotonic() + PATIENCE
    while not any(os.path.realpath(each) == str(recording.resolve()) for each in files.iterdir()):
        assert begun.poll() is None, begun.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=PATIENCE)
    assert (begun.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err
