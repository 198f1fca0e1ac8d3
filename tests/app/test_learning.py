"""What runs out is foretold from the samples there are, unless that was wrong before; and who was looked at is noted."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.app.coverage import KEPT, Coverage
from engine.app.learning import MOST, Learner
from engine.core.learning.capacity import CAPACITIES
from engine.core.learning.facts import DAY
from engine.model.labels import Batch, Labels
from engine.model.target import Fleet, Target
from engine.promql import parse
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.cli.cli_project import wait
from tests.fakes.world import FakeClock

REPOSITORY = Path(__file__).parent.parent.parent
HOUR = 3600.0
PACE = 300.0
START = 1_700_000_000.0
GIB = float(1 << 30)
FLEET = Fleet(
    {"web-1": Target("web-1", instances=frozenset({"web-1"})), "web-2": Target("web-2", instances=frozenset({"web-2"}))}
)
What = Callable[[float], float]


class Place:
    """A store whose series are made by functions of the hours since the start, and a learner that looks at it."""

    def __init__(self, folder: Path, forecasts: bool = True) -> None:
        self.store = SampleStore(folder / "samples", retention=30 * DAY)
        self.clock = FakeClock(START)
        self.path = folder / "coverage.json"
        self.learner = self.begin(forecasts=forecasts)
        self.made: dict[Labels, What] = {}

    def begin(self, *, forecasts: bool = True) -> Learner:
        evaluator = EmbeddedEvaluator(self.store, fresh=45.0, windows=False)
        return Learner(evaluator, self.clock, lambda: FLEET, self.path, pace=PACE, forecasts=forecasts)

    def make(self, name: str, what: What, instance: str = "web-1", **labels: str) -> Labels:
        own = Labels({"__name__": name, "instance": instance, **labels})
        self.made[own] = what
        return own

    def disk(self, what: What, instance: str = "web-1", mountpoint: str = "/") -> None:
        self.make("node_filesystem_avail_bytes", what, instance, mountpoint=mountpoint, fstype="ext4")

    def run(self, hours: float, *, learning: bool = True) -> None:
        end = self.clock.now() + hours * HOUR
        while self.clock.now() < end:
            self.clock.sleep(PACE)
            now = self.clock.now()
            series = tuple(self.made)
            values = tuple(what((now - START) / HOUR) for what in self.made.values())
            self.store.append(Batch(now, series, values))
            if learning:
                self.learner.once()

    def figures(self, name: str) -> dict[str, float]:
        return {
            each.labels.get("mountpoint", each.labels.get("instance", each.labels.get("state", ""))): each.value
            for each in self.learner.figures()
            if each.name == name
        }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own = Place(tmp_path)
    yield own
    own.store.close()


def falls(per_hour: float, begin: float = 100.0, noise: float = 0.2) -> What:
    generator = random.Random(4)
    return lambda hour: GIB * (begin - per_hour * hour + generator.gauss(0, noise))


def test_a_disk_that_fills_steadily_is_foretold_with_its_interval(place: Place) -> None:
    place.disk(falls(2.0))
    place.run(12)
    (middle,) = place.figures("mendbook_forecast_used_up_in_seconds").values()
    (low,) = place.figures("mendbook_forecast_used_up_in_low_seconds").values()
    (high,) = place.figures("mendbook_forecast_used_up_in_high_seconds").values()
    assert low <= middle <= high
    assert low <= 38 * HOUR <= high
    assert math.isclose(middle, 38 * HOUR, rel_tol=0.05)
    assert place.figures("mendbook_forecasts") == {"told": 1, "wrong": 0, "short": 0, "left_out": 0}


def test_a_history_of_an_hour_foretells_nothing(place: Place) -> None:
    place.disk(falls(2.0))
    place.run(1)
    assert not place.figures("mendbook_forecast_used_up_in_seconds")
    assert not place.figures("mendbook_forecast_error_ratio")
    assert place.figures("mendbook_forecasts")["short"] == 1


def test_what_was_wrong_before_foretells_nothing_and_says_how_wrong_it_was(place: Place) -> None:
    """A disk that goes up and down by the hour of the day: every trend is followed by its opposite."""
    place.disk(lambda hour: GIB * (50 + 30 * math.sin(hour / 24 * 2 * math.pi)))
    place.run(48, learning=False)
    place.learner.once()
    assert not place.figures("mendbook_forecast_used_up_in_seconds")
    (error,) = place.figures("mendbook_forecast_error_ratio").values()
    assert error > 0.5


def test_what_comes_and_goes_by_the_hour_is_never_foretold_to_run_out(place: Place) -> None:
    place.disk(lambda hour: GIB * (50 + 45 * math.sin(hour / 24 * 2 * math.pi)))
    told = 0
    for _ in range(16):
        place.run(2)
        told += any(each < 24 * HOUR for each in place.figures("mendbook_forecast_used_up_in_high_seconds").values())
    assert told == 0


def test_logs_that_are_rotated_several_times_a_day_fill_no_disk(place: Place) -> None:
    place.disk(lambda hour: GIB * (40 - 2 * (hour % 8)))
    place.run(48, learning=False)
    place.learner.once()
    assert place.figures("mendbook_forecast_used_up_in_seconds") == {"/": math.inf}


def test_memory_that_leaks_and_a_certificate_that_ends_are_foretold(place: Place) -> None:
    place.make("node_memory_MemAvailable_bytes", falls(1.0, 32.0, 0.05))
    place.make("mendbook_certificate_not_after_seconds", lambda _: START + 30 * DAY, path="/etc/x.pem", service="x")
    place.run(12)
    found = {
        each.labels["resource"]: each.value
        for each in place.learner.figures()
        if each.name == "mendbook_forecast_used_up_in_seconds"
    }
    assert math.isclose(found["memory"], 20 * HOUR, rel_tol=0.1)
    assert math.isclose(found["certificate"], 29.5 * DAY, rel_tol=0.01)


def test_connections_are_told_with_what_they_belong_to(place: Place) -> None:
    place.make("pg_settings_max_connections", lambda _: 100.0)
    place.make("pg_stat_database_numbackends", lambda hour: 10 + 4 * hour, datname="shop")
    place.run(12)
    (found,) = [each for each in place.learner.figures() if each.name == "mendbook_forecast_used_up_in_seconds"]
    assert (found.labels["resource"], found.labels["of"], found.labels["instance"]) == (
        "connections", "postgresql", "web-1",
    )  # fmt: skip
    assert math.isclose(found.value, 10.5 * HOUR, rel_tol=0.05)


def test_an_engine_that_begins_again_looks_back(place: Place) -> None:
    place.disk(falls(2.0))
    place.run(12, learning=False)
    place.learner = place.begin()
    place.learner.once()
    (middle,) = place.figures("mendbook_forecast_used_up_in_seconds").values()
    assert math.isclose(middle, 38 * HOUR, rel_tol=0.05)


def test_a_forecast_counts_down_and_grows_old(place: Place) -> None:
    place.disk(falls(2.0))
    place.run(12)
    (before,) = place.figures("mendbook_forecast_used_up_in_seconds").values()
    place.clock.sleep(120)
    (after,) = place.figures("mendbook_forecast_used_up_in_seconds").values()
    assert math.isclose(before - after, 120, abs_tol=1e-3)
    place.clock.sleep(4 * PACE)
    assert not place.figures("mendbook_forecast_used_up_in_seconds")


def test_a_disk_that_is_gone_is_forgotten(place: Place) -> None:
    place.disk(falls(2.0))
    place.run(12)
    place.made.clear()
    place.disk(falls(2.0), "web-2", "/data")
    place.run(7)
    assert set(place.figures("mendbook_forecast_error_ratio")) <= {"/data"}


def test_forecasts_can_be_turned_off_and_who_is_looked_at_is_noted_still(tmp_path: Path) -> None:
    own = Place(tmp_path, forecasts=False)
    own.disk(falls(2.0))
    own.make("up", lambda _: 0.0, job="node")
    own.run(3)
    assert not list(own.learner.figures())
    assert set(Coverage.read(own.path).days) == {"web-1"}, "one that is down is looked at, too"
    own.store.close()


def test_what_is_looked_at_is_counted_and_gaps_are_not(place: Place) -> None:
    place.make("up", lambda _: 1.0, job="node")
    place.run(6)
    place.learner = place.begin()  # the engine was away for ten hours
    place.clock.sleep(10 * HOUR)
    place.run(6)
    coverage = Coverage.read(place.path)
    assert math.isclose(sum(coverage.days["web-1"].values()), 12 * HOUR, rel_tol=0.02)
    assert "web-2" not in coverage.days
    assert coverage.since is not None
    assert math.isclose(coverage.since, START + PACE, abs_tol=1)


def test_a_fleet_that_is_too_large_is_forecast_in_part_and_that_is_said(place: Place) -> None:
    for number in range(MOST + 5):
        place.disk(lambda _: GIB, "web-1", f"/{number}")
    place.run(0.1)
    assert place.figures("mendbook_forecasts") == {"told": 0, "wrong": 0, "short": MOST, "left_out": 5}


def test_a_coverage_file_that_cannot_be_read_begins_anew_and_old_days_go(tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    path.write_text('{"since": 1, "days": {"a": {"x": 1}}}')
    coverage = Coverage.read(path)
    assert not coverage.days
    coverage.add(["a"], 1.5 * DAY, 60.0)
    coverage.add(["a"], (KEPT + 5.5) * DAY, 60.0)
    assert coverage.days == {"a": {KEPT + 5: 60.0}}
    coverage.write(path)
    assert Coverage.read(path) == coverage


@pytest.mark.parametrize("expr", [each.expr for each in CAPACITIES])
def test_what_is_asked_is_promql(expr: str) -> None:
    assert parse(expr) is not None


@pytest.mark.e2e
def test_an_engine_that_watches_writes_its_forecasts_as_series_and_notes_whom_it_looked_at(tmp_path: Path) -> None:
    (tmp_path / "mendbook.yml").write_text("interval: 500ms\nforecast: {every: 1s}\nexecutor: {warm: false}\n")
    watch = [sys.executable, "-c", "from engine.cli.main import main; main()", "watch", "--lines"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    coverage = tmp_path / ".mendbook" / "coverage.json"
    with subprocess.Popen(watch, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as engine:
        try:
            wait(lambda: sum(Coverage.read(coverage).days.get("localhost", {}).values()) > 1.0, "its coverage", 90.0)
        finally:
            engine.terminate()
    with SampleStore(tmp_path / ".mendbook" / "samples", read_only=True) as store:
        series = [each for each in store.series() if each["__name__"] == "mendbook_forecasts"]
    assert {each["state"] for each in series} == {"told", "wrong", "short", "left_out"}
