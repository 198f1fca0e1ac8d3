"""Times of the week: what is inside, when the next opening is, and what daylight saving does to both."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.hours import hours
from engine.core import guards
from engine.core.windows import inside, opens, permits
from engine.model.runbook import Guards, Hours, Window
from tests.core.cases_of import case_of
from tests.fakes.world import runbook

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
MINUTES = st.integers(0, 1439)
SPANS = st.builds(
    lambda days, start, end, zone: Hours("", frozenset(days), start, end, zone),
    st.sets(st.integers(0, 6), min_size=1),
    MINUTES,
    st.integers(0, 1440),
    st.sampled_from(ZONES),
).filter(lambda each: each.start != each.end)
WINDOWS = st.builds(
    lambda only, never: Window(tuple(only), tuple(never)), st.lists(SPANS, max_size=2), st.lists(SPANS, max_size=2)
)
MOMENTS = st.integers(1_700_000_000, 1_830_000_000)


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


OFFICE = hours("Mon-Fri 09:00-17:00 Europe/Berlin")
NIGHT = hours("Fri 22:00-06:00 Europe/Berlin")
EARLY = hours("02:15-02:45 Europe/Berlin")


@pytest.mark.parametrize(
    ("span", "moment", "expected"),
    [
        (OFFICE, "2026-01-05 08:59:59", False),
        (OFFICE, "2026-01-05 09:00", True),
        (OFFICE, "2026-01-09 16:59:59", True),
        (OFFICE, "2026-01-09 17:00", False),
        (OFFICE, "2026-01-10 12:00", False),
        (OFFICE, "2026-07-06 09:00", True),
        (NIGHT, "2026-01-09 21:59", False),
        (NIGHT, "2026-01-09 22:00", True),
        (NIGHT, "2026-01-10 05:59", True),
        (NIGHT, "2026-01-10 06:00", False),
        (NIGHT, "2026-01-09 03:00", False),
        (NIGHT, "2026-01-10 22:30", False),
    ],
)
def test_a_moment_is_inside_by_the_clocks_of_the_zone(span: Hours, moment: str, expected: bool) -> None:
    assert inside(span, at(moment)) is expected


def test_an_hour_that_the_clocks_skip_opens_nothing_that_day() -> None:
    before = at("2026-03-28 12:00")
    assert opens(Window(only=(EARLY,)), before) == at("2026-03-30 02:15")


def test_a_window_that_is_skipped_in_part_opens_when_the_clocks_go_on() -> None:
    span = hours("02:30-04:00 Europe/Berlin")
    opening = opens(Window(only=(span,)), at("2026-03-29 01:00"))
    assert opening == at("2026-03-29 03:00")


def test_an_hour_that_comes_twice_counts_twice() -> None:
    first, again = (at("2026-10-25 02:20", fold=fold) for fold in (0, 1))
    assert again - first == 3600
    assert inside(EARLY, first)
    assert inside(EARLY, again)
    assert not inside(EARLY, at("2026-10-25 02:50"))
    assert opens(Window(only=(EARLY,)), at("2026-10-25 02:50")) == at("2026-10-25 02:15", fold=1)


def test_what_is_never_open_has_no_opening() -> None:
    always = hours("00:00-24:00 UTC")
    assert opens(Window(never=(always,)), at("2026-01-05 12:00")) is None
    assert opens(Window(only=(OFFICE,), never=(always,)), at("2026-01-05 12:00")) is None


@given(WINDOWS, MOMENTS)
def test_the_opening_is_the_first_moment_at_which_it_is_open(window: Window, now: int) -> None:
    opening = opens(window, now)
    if opening is None:
        assert not any(permits(window, now + step) for step in range(0, 14 * 86_400, 1800))
        return
    assert opening >= now
    assert permits(window, opening)
    if opening > now:
        assert not permits(window, opening - 1)
        assert not any(permits(window, moment) for moment in range(now, int(opening), 900))


@given(WINDOWS, MOMENTS, st.floats(-7200, 7200))
def test_no_automatic_run_is_allowed_outside_its_window_whatever_the_steady_clock_says(
    window: Window, now: int, ahead: float
) -> None:
    book = runbook(guards=Guards(window=window))
    case = replace(case_of(book), now=now + ahead, ahead=ahead)
    verdict = guards.window(case)
    assert verdict.allowed is permits(window, case.wall)
    assert verdict.sentence
    assert guards.window(replace(case, operator="ann")).allowed
    if not verdict.allowed and verdict.until is not None:
        assert verdict.until == pytest.approx(opens(window, case.wall) + ahead)  # type: ignore[operator]


def test_a_zone_that_this_machine_does_not_know_holds() -> None:
    nowhere = Window(only=(Hours("", frozenset(range(7)), 0, 1440, "Mars/Olympus"),))
    verdict = guards.window(case_of(runbook(guards=Guards(window=nowhere))))
    assert (verdict.allowed, verdict.code) == (False, "window_unknown")
