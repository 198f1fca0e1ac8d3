"""What becomes of locks when a human is called: the fault's host stays locked, and the hosts beside it only while something may run there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.core.draft import apply
from engine.core.lifecycle import escalate
from engine.model.standing import Lock, Standing
from tests.core.cases_of import NOW, attempt_of, incident_of

HOSTS = st.frozensets(st.sampled_from(["web-1", "web-2", "lb", "standby"]))


@given(mine=HOSTS, others=HOSTS, unproved=st.booleans())
def test_an_escalation_keeps_its_host_and_frees_the_others_once_nothing_can_run_there(
    mine: frozenset[str], others: frozenset[str], *, unproved: bool
) -> None:
    attempt = replace(attempt_of(1, "web-1", 10.0, "leak"), unproved=unproved)
    incident = replace(incident_of("web-1"), attempt=attempt)
    locks = [Lock(host, incident.id, NOW - 9) for host in sorted(mine)]
    locks += [Lock(host, "inc-other", NOW - 9) for host in sorted(others - mine)]
    before = Standing(version=3, incidents=(incident,), locks=tuple(locks))
    after = apply(before, escalate(incident, "failed", "no rung is left", before, NOW))
    owners = {lock.target: lock.owner for lock in after.locks}
    assert "web-1" in owners
    assert {host for host, owner in owners.items() if owner == "inc-other"} == others - mine, "a lock of somebody else"
    held = {host for host, owner in owners.items() if owner == incident.id}
    assert held - {"web-1"} == (mine - {"web-1"} if unproved else set())
