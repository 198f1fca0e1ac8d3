"""Times as people type them, numbers and pictures as they read them."""

from __future__ import annotations

import datetime as dt
import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.cli.expressions import pointed
from engine.cli.plot import BLOCKS, flat, plot, scale, spark
from engine.cli.times import moment_of, span
from engine.cli.words import age, counted, lasting, line, number, share, short

POINTS = st.lists(
    st.tuples(st.floats(0, 100), st.floats(allow_nan=True, allow_infinity=True)), max_size=30
).map(lambda points: sorted(points, key=lambda point: point[0]))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("200ms", 0.2), ("1w", 604800)],
)
def test_durations_carry_units(text: str, seconds: float) -> None:
    assert span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "soon", "5 m", "-5m", "m5", "1h 30m", "∞s", "٣s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert span(text) is None


def test_moments_are_local_dates_times_of_today_or_so_long_ago() -> None:
    now = time.time()
    today = dt.datetime.now().astimezone().replace(hour=14, minute=5, second=0, microsecond=0)
    assert moment_of("14:05") == today.timestamp()
    assert moment_of("2026-01-31 14:05") == dt.datetime(2026, 1, 31, 14, 5).timestamp()  # noqa: DTZ001  local is meant
    assert moment_of("2026-01-31T14:05:00+00:00") == 1769868300.0
    assert moment_of("1769868300") == 1769868300.0
    for text in ("10m", "-10m", "10m ago"):
        assert moment_of(text) == pytest.approx(now - 600, abs=5)


@pytest.mark.parametrize("text", ["yesterday", "25:00", "2026-13-01", "", "99999-01-01", "12", "nan"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert moment_of(text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (3.0, "3"), (12345.0, "12,345"), (1234567.8, "1,234,568"), (math.inf, "+Inf"), (math.nan, "NaN"),
     (1e-9, "1e-09"), (-math.inf, "-Inf"), (1e20, "100,000,000,000,000,000,000")],
)  # fmt: skip
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


def test_small_words() -> None:
    assert (counted(0, "error"), counted(1, "error"), counted(2, "error")) == ("no errors", "1 error", "2 errors")
    assert (share(1, 2), share(0, 0)) == ("50% (1/2)", "-")
    assert (lasting(None), lasting(8.04), lasting(600)) == ("-", "8.0s", "10m")
    assert (age(None), age(0.0, 7200.0), age(10.0, 0.0)) == ("-", "2h", "0s")
    assert line("a\nb\x1b[1m\tc") == "a b�[1m c"
    assert short("x" * 100, 10) == "x" * 9 + "…"


def test_a_caret_stands_under_the_line_that_is_meant() -> None:
    text = "up ==\n  rate(up)"
    assert pointed(text, 8, 16, "not so") == (
        "[ERROR] bad-promql: not so\nOrigin: expression:2:3\n2   rate(up)\n    ^^^^^^^^"
    )


@given(POINTS, st.integers(1, 60), st.integers(1, 10))
def test_a_plot_has_the_size_that_was_asked_for(points: list[tuple[float, float]], width: int, height: int) -> None:
    lines = plot(points, 0.0, 100.0, width, height)
    assert [len(each) for each in lines] == [width] * height
    assert all(0x2800 <= ord(char) <= 0x28FF for each in lines for char in each)
    drawn = any(char != "\u2800" for each in lines for char in each)
    assert drawn == any(math.isfinite(value) for _, value in points)


@given(POINTS, st.integers(1, 60))
@example([(0.0, 0.0), (2.0, 5e-324)], 50)  # a span that halves to nothing
def test_a_spark_is_one_line_of_blocks(points: list[tuple[float, float]], width: int) -> None:
    drawn = spark(points, 0.0, 100.0, width)
    assert len(drawn) == width
    assert set(drawn) <= set(BLOCKS + " ")


def test_the_highest_value_is_on_top_and_the_lowest_below() -> None:
    top, bottom = plot([(0.0, 0.0), (1.0, 0.0), (99.0, 5.0), (100.0, 5.0)], 0.0, 100.0, 10, 2)
    assert (top[0], bottom[-1]) == ("\u2800", "\u2800")
    assert top[-1] != "\u2800" != bottom[0]


@pytest.mark.parametrize("value", [6.0, 0.1, -1e300, 0.0])
@pytest.mark.parametrize("every", [15.0, 7.0])
def test_a_constant_is_one_level_line_with_its_value_beside_it(value: float, every: float) -> None:
    points = [(at * every, value * (1 + (at % 2) * 1e-15)) for at in range(30)]
    lines = plot(points, 0.0, 29 * every, 50, 4)
    (place,) = [place for place, each in enumerate(lines) if set(each) != {"\u2800"}]
    assert len(set(lines[place])) == 1
    assert scale("6", "6", 4, constant=True)[place] == "6"
    assert scale("6", "6", 4, constant=True).count("") == 3


def test_only_what_rounding_makes_of_a_value_is_flat() -> None:
    assert flat(0.1 + 0.2, 0.3)
    assert not flat(8e9, 8e9 + 4096)
    assert not flat(0.0, 1e-12)
    assert not flat(0.0, math.inf)
    assert scale("0", "6", 4, constant=False) == ["6", "", "", "0"]


def test_a_hole_in_the_samples_is_a_hole_in_the_picture() -> None:
    points = [(float(at), 1.0) for at in (*range(0, 40, 2), *range(60, 100, 2))]
    drawn = spark(points, 0.0, 100.0, 10)
    assert drawn == "▄▄▄▄  ▄▄▄▄"
