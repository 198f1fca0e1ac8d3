"""Whose a series is: by the label `instance`, with or without a port; and that answers and the fleet agree about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.instance import host_of, on_any_port
from engine.model.labels import Labels, Sample
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query, Truth


@pytest.mark.parametrize(
    ("instance", "host"),
    [
        ("10.0.0.5:9100", "10.0.0.5"),
        ("db1.example.com:1", "db1.example.com"),
        ("[2001:db8::1]:9100", "2001:db8::1"),
        ("10.0.0.5", None),
        ("2001:db8::1", None),
        ("[2001:db8::1]", None),
        (":9100", None),
        ("[]:9100", None),
        ("db1:http", None),
        ("db1:", None),
        ("db1:123456", None),
        ("db1:²", None),
        ("https://db1:443/metrics", None),
        ("", None),
    ],
)
def test_a_port_is_what_follows_the_last_colon_unless_the_address_itself_has_colons(
    instance: str, host: str | None
) -> None:
    assert host_of(instance) == host


@pytest.mark.parametrize(
    ("instance", "names"),
    [
        ("db1", ["db1"]),
        ("db1:9100", ["db1"]),
        ("10.0.0.5", ["db1"]),
        ("10.0.0.5:9100", ["db1"]),
        ("[fe80::5]:9100", ["six"]),
        ("fe80::5", ["six"]),
        ("10.0.0.6:1", ["a"]),
        ("10.0.0.6:2", ["b"]),
        ("10.0.0.6:3", []),
        ("10.0.0.6", ["a", "b"]),
        ("a:9100", ["a"]),
        ("10.0.0.7:80", ["c", "d"]),
        ("10.0.0.7:81", ["c"]),
        ("10.0.0.50:9100", []),
        ("", []),
    ],
)
def test_an_instance_leads_to_its_host_with_or_without_a_port(instance: str, names: list[str]) -> None:
    fleet = fleet_of(
        db1={"10.0.0.5"},
        six={"fe80::5"},
        a={"10.0.0.6", "10.0.0.6:1"},  # behind one gateway, told apart by their ports
        b={"10.0.0.6", "10.0.0.6:2"},
        c={"10.0.0.7"},
        d={"10.0.0.7:80"},
    )
    assert sorted(target.name for target in fleet.of_instance(instance)) == names


def fleet_of(**instances: set[str]) -> Fleet:
    return Fleet({name: Target(name, instances=frozenset({name, *known})) for name, known in instances.items()})


SOME = st.sampled_from(["a", "b", "10.0.0.5", "10.0.0.5:1", "10.0.0.5:2", "a:1", "::1", "[::1]:1", ""])
FLEETS = st.dictionaries(st.sampled_from("abc"), st.frozensets(SOME.filter(bool), max_size=3), max_size=3)


@given(FLEETS, st.lists(SOME, unique=True, max_size=6), st.frozensets(SOME))
def test_what_an_answer_says_about_a_host_is_what_the_fleet_says_is_its(
    instances: dict[str, frozenset[str]], sampled: list[str], fresh: frozenset[str]
) -> None:
    fleet = Fleet({name: Target(name, instances=known | {name}) for name, known in instances.items()})
    samples = tuple(Sample(Labels({"instance": name}), 1.0) for name in sampled)
    answer = Answer(Query("x"), samples, (Coverage("x", fresh),))
    for target in fleet:
        about = [sample.labels.get("instance", "") for sample in answer.about(target.instances)]
        assert about == [name for name in sampled if target in fleet.of_instance(name)]
        known = "" in fresh or any(target in fleet.of_instance(name) for name in fresh)
        assert (answer.truth(target.instances) is not Truth.UNKNOWN) == known


def test_a_range_that_is_short_on_one_port_is_judged_by_the_other() -> None:
    need = Coverage("x[5m]", frozenset({"db1:1", "db1:2"}), frozenset({"db1:1"}), 300.0, 10.0)
    answer = Answer(Query("x[5m]"), needs=(need,))
    assert answer.truth({"db1"}) is Truth.FALSE
    assert answer.missing({"db1:1"}) == ("x[5m] needs 300s of samples, has 10s",)


@given(st.frozensets(SOME))
def test_only_what_has_no_port_means_every_port(instances: frozenset[str]) -> None:
    assert on_any_port(instances) <= instances
    assert all(host_of(instance) is None for instance in on_any_port(instances))
