"""Detectors in expressions: what they say of noise, jumps, ramps, days, and of too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from promql_memory import Memory

from engine.model.labels import Labels
from engine.promql import ParseError, Vector, evaluate, own, parse
from engine.promql.detectors import FUNCTIONS

MONDAY = 1_700_438_400_000
STEP = 60_000
NAMES = tuple(FUNCTIONS)


def x(host: str = "a") -> Labels:
    return Labels({"__name__": "x", "host": host})


def memory(*values: list[float], step: int = STEP, start: int = MONDAY) -> Memory:
    """Return series `a`, `b`, … whose samples are a step apart."""
    rows = [[(start + step * (number + 1), value) for number, value in enumerate(series)] for series in values]
    return Memory({x(chr(ord("a") + host)): row for host, row in enumerate(rows)})


def said(expr: str, values: list[float], step: int = STEP, start: int = MONDAY) -> float:
    """Return what an expression says of one series when its last sample is there; NaN where it says nothing."""
    result = evaluate(parse(expr), memory(values, step=step, start=start), start + step * len(values))
    assert isinstance(result, Vector)
    return float(result.values[0]) if len(result.values) else math.nan


def noise(count: int = 60, level: float = 50.0, seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).normal(level, 1.0, count))


def test_a_zscore_is_the_distance_from_the_median_in_spreads() -> None:
    values = [1.0, 2, 3, 4, 5, 13]
    assert said("mendbook_zscore_over_time(x[1h])", values) == pytest.approx((13 - 3) / 1.4826)


def test_one_outlier_in_the_past_changes_a_zscore_little() -> None:
    calm, wild = [*noise(), 60.0], [*noise(), 60.0]
    wild[30] = 1e9
    expr = "mendbook_zscore_over_time(x[2h])"
    assert said(expr, wild) == pytest.approx(said(expr, calm), rel=0.1)


def test_a_floor_keeps_what_hardly_ever_moves_from_being_unusual() -> None:
    values = [*[5.0] * 30, 5.2]
    assert said("mendbook_zscore_over_time(x[1h])", values) == math.inf
    assert said("mendbook_zscore_over_time(x[1h], 0.1)", values) == pytest.approx(2)


def test_what_never_moved_and_did_not_now_is_no_deviation() -> None:
    for name in NAMES[:1] + NAMES[2:4]:
        assert said(f"{name}(x[1h])", [5.0] * 30) == 0, name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [math.nan] * 20, [*noise(3), math.nan]])
def test_too_little_says_nothing(name: str, values: list[float]) -> None:
    assert math.isnan(said(f"{name}(x[1h])", values))


def test_a_missing_newest_sample_is_never_unusual() -> None:
    assert math.isnan(said("mendbook_zscore_over_time(x[2h]) > -1000", [*noise(), math.nan]))


def test_a_ramp_drifts_up_and_its_mirror_down() -> None:
    ramp = [value + 0.2 * max(0, number - 60) for number, value in enumerate(noise(120))]
    up = said("mendbook_drift_over_time(x[3h])", ramp)
    assert up > 50
    assert said("mendbook_drift_over_time(x[3h])", [-value for value in ramp]) == pytest.approx(-up)


def test_noise_drifts_little() -> None:
    assert all(abs(said("mendbook_drift_over_time(x[3h])", noise(120, seed=seed))) < 25 for seed in range(30))


def test_a_shift_is_told_with_its_size_and_its_time() -> None:
    values = noise(40) + noise(20, level=60, seed=1)
    before, behind = np.array(values[:40]), np.array(values[40:])
    own_level = np.concatenate([before - np.median(before), behind - np.median(behind)])
    spread = 1.4826 * np.median(np.abs(own_level - np.median(own_level)))
    size = (np.median(behind) - np.median(before)) / spread
    assert said("mendbook_shift_over_time(x[2h])", values) == pytest.approx(size)
    assert said("mendbook_ts_of_shift_over_time(x[2h])", values) == (MONDAY + STEP * 41) / 1000


@given(st.integers(6, 54), st.floats(8, 1000), st.sampled_from([1, -1]), st.integers(0, 50))
@example(at=7, size=1000.0, sign=-1, seed=18)  # noise of the many behind it is not taken for the few before it
@settings(max_examples=40, deadline=None)
def test_a_clear_step_is_found_where_it_is(at: int, size: float, sign: int, seed: int) -> None:
    values = [value + (sign * size if number >= at else 0) for number, value in enumerate(noise(seed=seed))]
    found = said("mendbook_ts_of_shift_over_time(x[2h])", values)
    assert abs(found - (MONDAY / 1000 + 60 * (at + 1))) <= 60
    assert math.copysign(1, said("mendbook_shift_over_time(x[2h])", values)) == sign


def test_noise_shifts_little() -> None:
    assert all(abs(said("mendbook_shift_over_time(x[2h])", noise(seed=seed))) < 2.5 for seed in range(30))


def weeks(days: int, at_noon: float, last: float, start: int = MONDAY) -> float:
    """Return what the seasonal score says after so many days of ten-minute samples, higher at noon, up to noon of the last."""
    rng = np.random.default_rng(1)
    values = []
    for number in range(days * 144 + 72):
        hour = (number + 1) * 600 % 86400 // 3600
        values.append((at_noon if hour == 12 else 10.0) + float(rng.normal()))
    values[-1] = last
    return said("mendbook_season_over_time(x[15d])", values, step=600_000, start=start)


def test_what_is_usual_at_noon_is_usual() -> None:
    assert abs(weeks(4, 90, 90)) < 3


def test_what_is_usual_at_night_is_unusual_at_noon() -> None:
    assert weeks(4, 90, 10) < -20


def test_one_day_is_no_custom() -> None:
    assert math.isnan(weeks(1, 90, 90))


def test_a_weekend_is_compared_with_weekends_once_there_are_two() -> None:
    rng = np.random.default_rng(1)
    values = []
    for number in range(20 * 144 + 72):  # up to Sunday's noon, in the third week
        day = number * 600 // 86400 % 7
        values.append((10.0 if day >= 5 else 90.0) + float(rng.normal()))
    quiet = said("mendbook_season_over_time(x[21d])", values, step=600_000)
    assert abs(quiet) < 3
    assert said("mendbook_season_over_time(x[21d])", [*values[:-1], 90.0], step=600_000) > 20


@pytest.mark.parametrize("name", NAMES)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), min_size=2, max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_series_do_not_influence_each_other(name: str, rows: list[list[float]]) -> None:
    together = evaluate(parse(f"{name}(x[1h])"), memory(*rows), MONDAY + 30 * STEP)
    assert isinstance(together, Vector)
    found = {labels["host"]: value for labels, value in zip(together.series, together.values.tolist(), strict=True)}
    for host, row in enumerate(rows):
        alone = evaluate(parse(f"{name}(x[1h])"), memory(row), MONDAY + 30 * STEP)
        assert isinstance(alone, Vector)
        assert found[chr(ord("a") + host)] == pytest.approx(alone.values[0], nan_ok=True)


@pytest.mark.parametrize("name", [name for name in NAMES if "ts_of" not in name])
@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=30), st.floats(0.5, 100), st.floats(-1e3, 1e3))
@example(values=[0.0, 1.5, -2.0, -1.0, 0.0, 0.0, 0.0], unit=2.0, zero=0.0)  # most of it never moves
@settings(max_examples=25, deadline=None)
def test_units_do_not_matter(name: str, values: list[float], unit: float, zero: float) -> None:
    rounded = [round(value, 3) for value in values]
    one = said(f"{name}(x[1h], 0.01)", rounded)
    other = said(f"{name}(x[1h], {0.01 * unit!r})", [value * unit + zero for value in rounded])
    assert other == pytest.approx(one, rel=1e-3, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    ("unit", "zero"), [(1.0, 0.0), (0.1, 0.3), (13.869242289183921, 694.8674738744653), (-7.0, 0.7)]
)
def test_of_two_places_that_are_as_likely_the_first_is_the_change_whatever_rounding_makes_of_them(
    unit: float, zero: float
) -> None:
    values = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    found = said("mendbook_ts_of_shift_over_time(x[1h])", [value * unit + zero for value in values])
    assert found == MONDAY / 1000 + 4 * STEP / 1000


def test_they_keep_no_name_and_are_known_as_our_own() -> None:
    result = evaluate(parse("mendbook_zscore_over_time(x[2h])"), memory(noise()), MONDAY + 60 * STEP)
    assert isinstance(result, Vector)
    assert "__name__" not in result.series[0]
    text = "mendbook_zscore_over_time(x[2h]) > 5 and rate(y[5m]) > 0"
    (remark,) = own(parse(text))
    assert text[slice(*remark.span)] == "mendbook_zscore_over_time(x[2h])"
    assert own(parse("rate(y[5m]) > 0")) == ()


@pytest.mark.parametrize("text", ["mendbook_zscore_over_time(x)", "mendbook_ts_of_shift_over_time(x[5m], 1)"])
def test_wrong_arguments_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse(text)
