"""Limits are not to be got around: not by another name for a runbook, by variants of it, by hand, or by another incident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.core.decide import decide
from engine.core.guards import GUARDS
from engine.model.decision import Escalate, Hold
from engine.model.incident import Incident, IncidentState
from engine.model.runbook import Guards, Limits, Runbook
from engine.model.standing import Request, Standing
from tests.core.cases_of import NOW, attempt_of, case_of, incident_of
from tests.fakes.world import House, runbook

LIMITS = Limits(interval=1.0, max_targets=1.0, grace=0.0, reopen=1.0)
STRICT = Guards(cooldown=600.0, max_attempts=1, max_per_hour=1)


def renamed(book: Runbook) -> Runbook:
    return replace(book, name="web-down-2", trigger=replace(book.trigger, alert="Other"))


def variant(book: Runbook) -> Runbook:
    return replace(book, hosts=frozenset({"web-1"}))


def healed_once(*, automatic: bool = True) -> House:
    """Return a house in which the runbook has healed web-1 once, which is all that it may."""
    house = House(runbook(guards=STRICT), limits=LIMITS, automatic=automatic)
    house.breaks("web-1")
    if not automatic:
        ask(house, "first")
    house.run(20)
    assert len(house.executor.started) == 1
    assert not [each for each in house.incidents if each.state.live]
    return house


def ask(house: House, name: str) -> None:
    subject = house.runbooks[0].name
    house.records.request(Request(name, "run", "ann", "", house.clock.now(), subject, ("web-1",)))
    house.run(2)


@pytest.mark.parametrize("change", [lambda book: book, renamed, variant])
@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_tried_counts_whatever_the_runbook_is_called_and_whoever_tried(change: object, by_hand: bool) -> None:
    house = healed_once(automatic=not by_hand)
    house.runbooks = tuple(change(book) for book in house.runbooks)  # type: ignore[operator]
    house.breaks("web-1")
    if by_hand:
        ask(house, "second")
    house.run(20)
    assert len(house.executor.started) == 1
    house.controller.automatic = True
    house.run(20)
    assert len(house.executor.started) == 1
    live = next(each for each in house.incidents if each.state.live)
    assert (live.state, live.code) == (IncidentState.ESCALATED, "max_attempts")


def test_what_a_runbook_that_is_gone_has_tried_counts_for_its_resource_alone() -> None:
    gone = replace(attempt_of(1, "web-0", 60.0, "gone"), incident="old")
    old = incident_of("web-0", "node", "old", state=IncidentState.RESOLVED)
    book = runbook(guards=STRICT)
    case = case_of(book, standing=Standing(attempts=(gone,), incidents=(old,)))
    decision = decide(case)
    assert isinstance(decision, Escalate)
    assert {each.code for each in decision.verdicts if not each.allowed} == {"cooldown", "max_attempts", "max_per_hour"}
    for free in (
        Standing(attempts=(gone,), incidents=(replace(old, resource="disk"),)),
        Standing(attempts=(gone,)),
        Standing(attempts=(replace(gone, started_at=NOW - 90_000, ended_at=NOW - 89_000),), incidents=(old,)),
    ):
        kept = (case.incident, *free.incidents)
        assert not [
            guard for guard in GUARDS if not guard(replace(case, standing=replace(free, incidents=kept))).allowed
        ]


def test_the_same_fault_elsewhere_is_a_common_cause_though_the_runbook_was_renamed_between() -> None:
    gone = replace(attempt_of(1, "web-1", 6.0, "gone"), incident="old")
    old = incident_of("web-1", "node", "old", state=IncidentState.RESOLVED)
    incident: Incident = incident_of("web-0", opened_at=NOW)
    case = case_of(runbook(within=60.0), incident=incident, standing=Standing(attempts=(gone,), incidents=(old,)))
    decision = decide(case)
    assert isinstance(decision, Escalate | Hold)
    assert "common_cause" in {each.code for each in decision.verdicts if not each.allowed}
