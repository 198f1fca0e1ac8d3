"""A trend says when something runs out, how sure that is, and when it had better say nothing."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.learning.trend import LEAST, Floats, Trend, clearings, forecast, sen

HOUR = 3600.0
STEP = 600.0


def times(count: int = 288) -> Floats:
    return np.arange(count, dtype=np.float64) * STEP


def noise(count: int, size: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0.0, size, count)


@given(st.floats(60.0, 1000.0), st.floats(0.1, 1.0))
def test_what_falls_in_a_straight_line_is_told_exactly(begin: float, per_hour: float) -> None:
    values = begin - per_hour * times() / HOUR
    found = forecast(times(), values)
    assert found is not None
    assert found.error < 1e-6
    assert math.isclose(found.seconds, values[-1] / per_hour * HOUR, rel_tol=1e-6)
    assert math.isclose(found.low, found.high, rel_tol=1e-3)


@given(st.floats(1e-3, 1e12), st.integers(0, 50))
def test_units_and_the_epoch_change_nothing(scale: float, seed: int) -> None:
    values = 100 - 0.5 * times() / HOUR + noise(288, 1.0, seed)
    one, other = forecast(times(), values), forecast(times() + 1.7e9, values * scale)
    assert one is not None
    assert other is not None
    assert math.isclose(one.seconds, other.seconds, rel_tol=1e-6)
    assert math.isclose(one.error, other.error, rel_tol=1e-5, abs_tol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=LEAST, max_size=120))
def test_whatever_there_is_the_interval_holds_the_middle_and_nothing_is_less_than_now(own: list[float]) -> None:
    found = forecast(times(len(own)), np.array(own))
    if found is not None:
        assert 0.0 <= found.low <= found.seconds <= found.high
        assert found.error >= 0.0


@given(st.integers(0, 200), st.floats(-1e4, 1e4))
def test_one_sample_that_is_wrong_moves_no_slope(place: int, wrong: float) -> None:
    own = times(201)
    values = 50 - 0.25 * own / HOUR
    values[place] += wrong
    whole = np.zeros(201, np.int64)
    assert math.isclose(sen(own, values, whole) * HOUR, -0.25, rel_tol=1e-6)


def test_what_rises_or_stays_never_runs_out() -> None:
    for slope in (0.0, 0.4):
        found = forecast(times(), 50 + slope * times() / HOUR + noise(288, 0.01))
        assert found is not None
        assert found.trusted
        assert found.high == math.inf


def test_a_short_history_and_one_without_numbers_say_nothing() -> None:
    assert forecast(times(LEAST - 1), np.ones(LEAST - 1)) is None
    assert forecast(times(), np.full(288, math.nan)) is None


def test_gaps_and_what_is_no_number_do_no_harm() -> None:
    values = 100 - 0.5 * times() / HOUR
    values[50:90] = math.nan
    values[200] = math.inf
    found = forecast(times(), values)
    assert found is not None
    assert math.isclose(found.seconds, values[-1] / 0.5 * HOUR, rel_tol=1e-3)


def test_what_wanders_without_a_trend_is_not_trusted() -> None:
    trusted = 0
    for seed in range(20):
        found = forecast(times(), 50 + np.cumsum(noise(288, 0.5, seed)))
        trusted += found is not None and found.trusted
    assert trusted <= 8


def test_a_saw_tooth_is_cleared_in_time_and_a_falling_one_is_not() -> None:
    teeth = 3 * (times() % (8 * HOUR)) / HOUR
    steady = forecast(times(), 60 - teeth + noise(288, 0.2))
    assert steady is not None
    assert steady.trusted
    assert steady.seconds == math.inf
    falling = forecast(times(), 80 - 0.5 * times() / HOUR - teeth + noise(288, 0.2))
    assert falling is not None
    assert falling.trusted
    # 80 - 0.5 t - 24 at the end of a tooth is nothing at 112 hours, 64 from now
    assert math.isclose(falling.seconds, 64 * HOUR, rel_tol=0.15)


def test_a_tooth_that_goes_deeper_than_there_is_room_runs_out_within_it() -> None:
    trend = Trend(level=5.0, slope=-1.0, noise=0.0, period=10.0, gain=10.0, due=8.0)
    assert trend.runs_out(trend.level, trend.slope) == 5.0


@given(st.floats(1.0, 100.0), st.floats(0.01, 5.0), st.floats(1.0, 30.0), st.floats(0.0, 1.0), st.floats(0.0, 1.2))
def test_a_saw_tooth_is_at_nothing_when_it_says_so_and_was_not_before(
    level: float, slope: float, period: float, due: float, gain: float
) -> None:
    trend = Trend(level, -slope, 0.0, period, gain * slope * period, due * period)
    gone = trend.runs_out(trend.level, trend.slope)
    if not math.isfinite(gone) or gone > 200 * period:
        return
    assert trend.at(max(0.0, gone - 1e-6 * (1 + gone))) <= 1e-3 * level + slope * period
    firsts = [trend.at(share * gone * 0.999) for share in np.linspace(0.0, 0.98, 50)]
    assert min(firsts) > -slope * period


def test_only_a_rise_beyond_the_noise_is_something_that_was_cleared() -> None:
    flat = 50 + noise(288, 1.0)
    assert not len(clearings(times(), flat))
    flat[100:] += 30
    assert clearings(times(), flat).tolist() == [100]
