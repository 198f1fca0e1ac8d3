"""A remedy that acts on a culprit starts by itself where that culprit is well ahead of the next one, and asks where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.core.decide import decide
from engine.core.localize import localize
from engine.core.meet import join
from engine.core.questions import needs_of
from engine.core.rivals import UNSURE, acts_on_culprit, ahead, doubt, lead, wider
from engine.model.decision import Hold, Run
from engine.model.incident import Fault, Incident, IncidentState, Suspect
from engine.model.labels import Labels, Sample
from engine.model.runbook import Catalog, Localization, Remedy, Runbook, Step
from engine.model.standing import Standing
from engine.model.truth import Answer, Query
from tests.core.cases_of import NOW, alert_of, case_of, fleet_of, incident_of
from tests.fakes.world import runbook

WHO = "topk by (instance) (1, rss)"
WIDER = "topk by (instance) (4, rss)"
figure = st.floats(-1e12, 1e12)


def book_of(*values: str) -> Runbook:
    steps = tuple(Step("restart.yml", vars={"process": value}) for value in values)
    book = runbook("memory", resource="memory", localize=Localization("memory", WHO, "group"))
    return replace(book, remedies=(Remedy("end", steps),))


def found(book: Runbook, figures: dict[str, float], more: dict[str, str] | None = None) -> Fault:
    """What is localized when these are the figures of the processes of web-0; the runbook asks for the strongest, and the next."""
    ordered = sorted(figures.items(), key=lambda item: -item[1])
    samples = tuple(
        Sample(Labels({"instance": "web-0", "group": name, **(more or {})}), each) for name, each in ordered
    )
    answers = {WHO: Answer(Query(WHO), samples[:1]), WIDER: Answer(Query(WIDER), samples)}
    (fault,) = localize([alert_of("web-0", book)], answers, Catalog((book,)), fleet_of(4), Standing(), NOW).faults
    return fault


def decided(book: Runbook, fault: Fault, operator: str | None = None) -> Run | Hold:
    incident = incident_of("web-0", "memory", fault=fault, culprit=fault.suspect.culprit)
    decision = decide(case_of(book, incident=incident, operator=operator))
    assert isinstance(decision, Run | Hold)
    return decision


@given(figure, figure)
def test_it_runs_by_itself_only_where_the_culprit_is_well_ahead(one: float, other: float) -> None:
    first, second = max(one, other), min(one, other)
    share = ahead(first, second)
    assume(abs(share - UNSURE) > 0.005)  # scores have three digits
    book = book_of("{{ fault.culprit }}")
    decision = decided(book, found(book, {"leaky": first, "nginx": second}))
    assert isinstance(decision, Run) == (share > UNSURE)
    if isinstance(decision, Hold):
        (against,) = [verdict for verdict in decision.verdicts if not verdict.allowed]
        assert (against.guard, against.code) == ("approval", "held_for_approval")
        assert "nginx" in against.sentence
        assert "leaky" in against.sentence


@given(figure, figure)
def test_a_remedy_that_needs_no_culprit_and_a_person_who_named_it_do_not_wait(one: float, other: float) -> None:
    plain, told = book_of("cache"), book_of("{{ fault.culprit }}")
    assert isinstance(decided(plain, found(plain, {"a": one, "b": other})), Run)
    assert isinstance(decided(told, found(told, {"a": one, "b": other}), operator="ann"), Run)


@given(figure)
def test_one_alone_is_sure(value: float) -> None:
    book = book_of("{{ fault.culprit }}")
    fault = found(book, {"leaky": value})
    assert lead(fault, "leaky") == (1.0, None)
    assert isinstance(decided(book, fault), Run)


@given(figure, figure, figure)
def test_more_rivals_never_make_it_surer(first: float, second: float, third: float) -> None:
    book = book_of("{{ fault.culprit }}")
    first, second, third = sorted((first, second, third), reverse=True)
    fewer, more = (found(book, each) for each in ({"a": first, "b": second}, {"a": first, "b": second, "c": third}))
    assert lead(more, "a")[0] <= lead(fewer, "a")[0]
    assert more.margin <= fewer.margin


@given(figure, figure)
def test_a_share_ahead_is_between_nothing_and_all(one: float, other: float) -> None:
    first, second = max(one, other), min(one, other)
    assert 0 <= ahead(first, second) <= 1
    assert (ahead(first, second) == 0) == (first == second)


def test_the_second_is_a_suspect_with_its_own_figure() -> None:
    book = book_of("{{ fault.culprit }}")
    fault = found(book, {"leaky": 8.0, "nginx": 7.0})
    (other,) = fault.others
    assert (other.node, other.resource, other.culprit, other.score) == ("web-0", "memory", "nginx", 0.875)
    assert other.evidence == ("culprit nginx: 7 by its own figure",)
    assert fault.margin == pytest.approx(0.125)
    assert doubt(fault, "leaky") == "culprit leaky is only 12% ahead of nginx and should be 20%"


def test_a_device_that_is_mounted_twice_is_no_rival_of_itself() -> None:
    book = book_of("{{ fault.culprit }}")
    assert found(book, {"/": 9.0, "/etc/hosts": 9.0}, {"device": "/dev/sda1"}).others == ()
    assert found(book, {"/": 9.0, "/etc/hosts": 9.0}).others != ()


def test_who_is_next_is_asked_where_it_matters() -> None:
    assert WIDER in set(needs_of(book_of("{{ fault.culprit }}")))
    assert WIDER not in set(needs_of(book_of("cache")))


@pytest.mark.parametrize(
    ("expr", "more"),
    [
        (WHO, WIDER),
        ("topk(1, rss)", "topk(4, rss)"),
        ("topk by (instance) (3, rss)", None),
        ("bottomk by (instance) (1, rss)", None),
        ("rss > 1", None),
        ("topk(1,", None),
    ],
)
def test_only_the_strongest_one_is_asked_for_with_its_next(expr: str, more: str | None) -> None:
    assert wider(expr) == more


def test_what_is_told_to_any_step_counts() -> None:
    assert acts_on_culprit(Remedy("x", (Step("a.yml"), Step("b.yml", vars={"service": "x-{{ fault.culprit }}"}))))
    assert acts_on_culprit(
        Remedy("x", (Step("a.yml"),), finally_=(Step("b.yml", vars={"service": "{{fault.culprit}}"}),))
    )
    assert not acts_on_culprit(Remedy("x", (Step("a.yml", vars={"service": "{{ target }}"}),)))


def incident_with(fault: Fault, state: IncidentState = IncidentState.OPEN) -> Incident:
    return incident_of("web-0", "memory", fault=fault, culprit=fault.suspect.culprit, state=state)


def test_a_doubt_that_ends_sets_the_remedy_free_and_one_that_comes_holds_it() -> None:
    book = book_of("{{ fault.culprit }}")
    near, far = found(book, {"leaky": 8.0, "nginx": 7.0}), found(book, {"leaky": 80.0, "nginx": 7.0})
    for before, after in ((near, far), (far, near)):
        change = join(incident_with(before), after, NOW)
        assert change is not None
        assert change.incident is not None
        assert change.incident.fault == after
        assert change.incident.culprit == "leaky"
    assert join(incident_with(far), found(book, {"leaky": 90.0, "nginx": 7.0}), NOW) is None


def test_amid_an_attempt_a_doubt_changes_nothing() -> None:
    book = book_of("{{ fault.culprit }}")
    near, far = found(book, {"leaky": 8.0, "nginx": 7.0}), found(book, {"leaky": 80.0, "nginx": 7.0})
    assert join(incident_with(far, IncidentState.REMEDIATING), near, NOW) is None


def test_one_that_overtakes_does_not_become_the_culprit_by_itself() -> None:
    book = book_of("{{ fault.culprit }}")
    near = found(book, {"leaky": 8.0, "nginx": 7.0})
    over = found(book, {"leaky": 7.0, "nginx": 80.0})
    assert join(incident_with(near), over, NOW) is None
    assert doubt(replace(near, suspect=Suspect("web-0", "memory", "nginx", 1.0)), "leaky")
