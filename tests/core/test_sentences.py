"""What guards say stays true for as long as it is kept: moments, never ages; and what helps is a command to type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import guards, trust
from engine.core.case import Case
from engine.core.clocks import told
from engine.model.incident import Approved, IncidentState, Outcome
from engine.model.runbook import Guards, Hours, Mode, Window
from engine.model.standing import Lock, Pause, Silence, Standing
from tests.core.cases_of import NOW, attempt_of, case_of, incident_of
from tests.fakes.world import runbook

NEVER_NOW = Window(only=(Hours("Sun 03:00-04:00 Europe/Berlin", frozenset({6}), 180, 240, "Europe/Berlin"),))


def asking(digest: str, until: float) -> Case:
    given = Approved(digest, "ann", "seen", NOW - 40, until)
    return case_of(runbook(mode=Mode.APPROVE), incident=incident_of("web-0", approved=given))


def approved() -> Case:
    case = asking("", NOW + 600)
    given = case.incident.approved
    assert given is not None
    return replace(case, incident=replace(case.incident, approved=replace(given, digest=case.digest)))


def expired() -> Case:
    case = approved()
    given = case.incident.approved
    assert given is not None
    return replace(case, incident=replace(case.incident, approved=replace(given, expires_at=NOW - 5)))


def tried(**limits: object) -> Case:
    book = runbook(guards=Guards(**limits))  # type: ignore[arg-type]
    return case_of(book, standing=Standing(attempts=(attempt_of(1, "web-0", 31.0),)))


CASES: dict[str, tuple[Callable[[], Case], str]] = {
    "lock": (
        lambda: case_of(standing=Standing(locks=(Lock("web-0", "inc-1", NOW - 12, "run-1: restart"),))),
        "web-0 is held by inc-1 since 13:46:28 UTC: run-1: restart",
    ),
    "approval": (approved, "approved by ann at 13:46:00 UTC: seen"),
    "approval of another": (lambda: asking("other", NOW + 600), "; what ann approved at 13:46:00 UTC is not this plan any more"),
    "approval that ended": (expired, "; what ann approved at 13:46:00 UTC held until 13:46:35 UTC"),
    "silence": (
        lambda: case_of(standing=Standing(silences=(Silence("s1", '{target="web-0"}', "bob", "disk", NOW - 9, NOW + 90),))),
        '{target="web-0"} is silenced by bob until 13:48:10 UTC: disk',
    ),
    "cooldown": (
        lambda: tried(cooldown=600.0),
        "last attempt at 13:46:10 UTC, its cooldown of 600s is over at 13:56:10 UTC",
    ),
    "max_per_hour": (lambda: tried(max_per_hour=1), "1 attempts since 13:46:09 UTC, at most 1 an hour"),
    "window": (
        lambda: case_of(runbook(guards=Guards(window=NEVER_NOW))),
        "it may act only Sun 03:00-04:00 Europe/Berlin: again from Sun 1970-01-18 03:00 in Europe/Berlin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_guard_says_the_same_as_long_as_it_holds_for_the_same(name: str) -> None:
    make, words = CASES[name]
    case = make()
    guard = getattr(guards, {"lock": "locks"}.get(name.partition(" ")[0], name.partition(" ")[0]))
    first = guard(case)
    assert first.sentence.endswith(words)
    later = guard(replace(case, now=case.now + 30))
    assert (later.code, later.sentence) == (first.code, first.sentence)
    moved = guard(replace(case, ahead=3600.0))
    assert moved.sentence.endswith(words.replace("13:", "12:")), "by the clock on the wall"


def test_what_sets_a_host_free_is_said_as_a_command() -> None:
    tried = replace(attempt_of(1, "web-0", 9.0, outcome=Outcome.UNKNOWN), incident="inc-web-0-node", unproved=True)
    standing = Standing(attempts=(tried,), locks=(Lock("web-0", "inc-web-0-node", NOW - 9),))
    case = case_of(incident=incident_of("web-0", state=IncidentState.OPEN), standing=standing)
    verdict = guards.locks(case)
    assert verdict.code == "not_contained"
    assert "`mendbook locks break web-0`" in verdict.sentence


LONG = st.lists(st.floats(1, 1e6), min_size=1, max_size=4)


@settings(deadline=None)  # the first one imports
@given(LONG)
def test_of_several_silences_the_one_that_lasts_longest_is_told(lengths: list[float]) -> None:
    silences = tuple(Silence(f"s{n}", '{target="web-0"}', "bob", "", NOW, NOW + each) for n, each in enumerate(lengths))
    case = case_of(standing=Standing(silences=silences))
    verdict = trust.silence(case)
    assert verdict.until is not None
    assert trust.silence(replace(case, now=verdict.until)).allowed, "asking again then does help"


@settings(deadline=None)  # the first one imports
@given(LONG, st.booleans())
def test_of_several_pauses_the_one_that_lasts_longest_is_told(lengths: list[float], endless: bool) -> None:
    pauses = [Pause(scope, "bob", "", NOW, NOW + each) for scope, each in zip(("all", "host:web-0", "runbook:web-down") * 2, lengths, strict=False)]  # fmt: skip
    if endless:
        pauses[-1] = replace(pauses[-1], until=None)
    case = case_of(standing=Standing(pauses=tuple(pauses)))
    verdict = trust.pause(case)
    if endless:
        assert verdict.until is None
    else:
        assert verdict.until is not None
        assert trust.pause(replace(case, now=verdict.until)).allowed


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW, "13:46:40 UTC"),
        (NOW + 86_400, "1970-01-13 13:46:40 UTC"),
        (1e300, f"{1e300:.0f}s after 1970"),
        (float("inf"), "infs after 1970"),
        (float("nan"), "nans after 1970"),
    ],
)
def test_a_moment_is_told_with_its_date_where_that_is_another(at: float, words: str) -> None:
    assert told(at, NOW) == words
