"""Who is to blame: tables in `cases/localize.yml`, and what holds for any fleet at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.localize import DEPENDENTS, SAME_NODE, Findings, Place, explains, localize
from engine.model.incident import Alert, AlertState, Incident, IncidentState
from engine.model.labels import Labels, Sample
from engine.model.runbook import Catalog, Localization
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Query
from tests.fakes.world import runbook

NOW = 1_000_000.0
CASES = yaml.safe_load((Path(__file__).parent / "cases" / "localize.yml").read_text())
RESOURCES = (
    *(
        "node",
        "service",
        "unit",
        "database",
        "disk",
        "filesystem",
        "inodes",
        "memory",
        "cpu",
        "data",
        "network",
        "descriptors",
    ),
    *("processes", "certificate", "capacity", "latency", "errors", "traffic"),
)


def alert_of(node: str, resource: str, state: AlertState = AlertState.FIRING, number: int = 0) -> Alert:
    labels = Labels({"instance": node, "group": f"{resource}-process"})
    name = f"{node}/{resource}/{number}"
    return Alert(name, resource, resource.title(), labels, node, state, 1.0, NOW - 60, NOW, NOW, condition="x = 1")


def fleet_of(hosts: Mapping[str, list[str]]) -> Fleet:
    return Fleet(
        {name: Target(name, instances=frozenset({name}), depends_on=tuple(depends)) for name, depends in hosts.items()}
    )


def catalog_of(resources: set[str]) -> Catalog:
    return Catalog(tuple(runbook(name, expr=name, resource=name, longest_range=60.0) for name in sorted(resources)))


def incident_of(line: str) -> Incident:
    node, resource, state, *ended = line.split()
    return Incident(
        f"inc-{node}-{resource}",
        node,
        resource,
        IncidentState(state),
        NOW - 600,
        ended_at=NOW - float(ended[0]) if ended else None,
    )


def find(case: Mapping[str, Any]) -> Findings:
    parts = [line.split() for line in case["alerts"]]
    alerts = [alert_of(node, resource, *(AlertState(state) for state in more)) for node, resource, *more in parts]
    alerts = [each for each in alerts if each.target in case["hosts"]] or [
        Alert("ghost", "cpu", "Cpu", Labels(), None, AlertState.FIRING, 1.0, NOW, NOW, NOW)
    ]
    incidents = tuple(incident_of(line) for line in case.get("incidents", ()))
    catalog = catalog_of({resource for _, resource, *_ in parts})
    return localize(alerts, {}, catalog, fleet_of(case["hosts"]), Standing(incidents=incidents), NOW)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_root_is_found_and_the_rest_is_explained(case: Mapping[str, Any]) -> None:
    found = find(case)
    assert sorted(f"{each.suspect.node} {each.suspect.resource}" for each in found.faults) == sorted(case["faults"])
    symptoms = {f"{node} {resource}": why for (node, resource), why in found.symptoms.items()}
    assert symptoms.keys() == case.get("symptoms", {}).keys()
    for symptom, word in case.get("symptoms", {}).items():
        assert word in symptoms[symptom]


def test_what_explains_more_is_more_suspect_and_says_so() -> None:
    found = find({"hosts": {"web-1": [], "lb": ["web-1"]}, "alerts": ["web-1 service", "lb errors", "web-1 latency"]})
    (fault,) = found.faults
    assert fault.suspect.score == pytest.approx((1.0 + 0.8 + 0.6) / 3, abs=1e-3)
    assert fault.margin > 0.3
    assert {(other.node, other.resource) for other in fault.others} == {("lb", "errors"), ("web-1", "latency")}
    assert "accounts for 1 alert(s) of errors on lb: lb depends on web-1" in fault.suspect.evidence
    assert len(fault.alerts) == 3


def test_the_culprit_is_the_strongest_at_the_target_and_of_no_other_host() -> None:
    book = runbook("memory", expr="memory", resource="memory", localize=Localization("memory", "who", "group"))
    samples = tuple(
        Sample(Labels({"instance": host, "group": name}), value)
        for host, name, value in [("a", "api", 5.0), ("a", "cache", 9.0), ("b", "giant", 99.0), ("a", "", 50.0)]
    )
    answers = {"who": Answer(Query("who"), samples)}
    found = localize(
        [alert_of("a", "memory")], answers, Catalog((book,)), fleet_of({"a": [], "b": []}), Standing(), NOW
    )
    (fault,) = found.faults
    assert fault.suspect.culprit == "cache"
    assert any("cache" in line and "9" in line for line in fault.suspect.evidence)


def test_the_culprit_may_stand_on_the_alert_itself() -> None:
    book = runbook("memory", expr="memory", resource="memory", localize=Localization("memory", None, "group"))
    found = localize([alert_of("a", "memory")], {}, Catalog((book,)), fleet_of({"a": []}), Standing(), NOW)
    assert found.faults[0].suspect.culprit == "memory-process"


def test_resources_explain_one_another_in_one_direction_only() -> None:
    fleet = fleet_of({"a": [], "b": ["a"]})
    for cause in RESOURCES:
        for effect in RESOURCES:
            here, there = Place("a", cause), Place("a", effect)
            assert not (explains(here, there, fleet) and explains(there, here, fleet)), (cause, effect)
            over = Place("b", effect)
            assert not (explains(here, over, fleet) and explains(over, here, fleet)), (cause, effect)
    known = {*SAME_NODE, *DEPENDENTS, *(each for effects in SAME_NODE.values() for each in effects)}
    assert known <= set(RESOURCES)


HOSTS = ("a", "b", "c", "d")
FLEETS = st.fixed_dictionaries({host: st.lists(st.sampled_from(HOSTS), max_size=3, unique=True) for host in HOSTS})
FIRING = st.sets(st.tuples(st.sampled_from(HOSTS), st.sampled_from(RESOURCES)), min_size=1, max_size=10)


@settings(max_examples=150, deadline=None)
@given(FLEETS, FIRING, st.integers(1, 3))
def test_whatever_fires_has_a_root_and_every_figure_is_a_share(
    hosts: dict[str, list[str]], firing: set[tuple[str, str]], copies: int
) -> None:
    alerts = [alert_of(*place, number=number) for place in sorted(firing) for number in range(copies)]
    found = localize(alerts, {}, catalog_of({each for _, each in firing}), fleet_of(hosts), Standing(), NOW)
    roots = {(each.suspect.node, each.suspect.resource) for each in found.faults}
    assert roots, "something is wrong and nobody is to blame"
    assert roots | found.symptoms.keys() == firing
    assert not roots & found.symptoms.keys()
    for fault in found.faults:
        for suspect in (fault.suspect, *fault.others):
            assert 0.0 < suspect.score <= 1.0 or (suspect.score == 0.0 and suspect is not fault.suspect)
        assert 0.0 <= fault.margin <= 1.0
        assert set(fault.runbooks) == {fault.suspect.resource}
    assert [fault.suspect.score for fault in found.faults] == sorted(
        (fault.suspect.score for fault in found.faults), reverse=True
    )


@settings(max_examples=50, deadline=None)
@given(FLEETS, FIRING, st.randoms(use_true_random=False))
def test_the_order_in_which_alerts_come_says_nothing(
    hosts: dict[str, list[str]], firing: set[tuple[str, str]], dice: Any
) -> None:
    alerts = [alert_of(*place) for place in sorted(firing)]
    catalog, fleet = catalog_of({each for _, each in firing}), fleet_of(hosts)
    first = localize(alerts, {}, catalog, fleet, Standing(), NOW)
    dice.shuffle(alerts)
    again = localize(alerts, {}, catalog, fleet, Standing(), NOW)
    assert [each.suspect for each in again.faults] == [each.suspect for each in first.faults]
    assert again.symptoms == first.symptoms
