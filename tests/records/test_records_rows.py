"""Nouns come back from plain JSON as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.decision import Entry, Verdict
from engine.model.execution import Execution, TaskEvent
from engine.model.incident import Alert, AlertState, Attempt, Incident
from engine.model.standing import Lock, Pause, Request, Silence
from engine.records.rows import RowError, canonical, decode, encode, from_row, to_row
from tests.records.nouns import anything, normal

KINDS = [Alert, Incident, Attempt, Execution, TaskEvent, Entry, Verdict, Lock, Pause, Request, Silence]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=50)
@given(data=st.data())
def test_any_noun_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    noun = data.draw(anything(kind))
    assert normal(decode(kind, json.loads(canonical(encode(noun))))) == normal(noun)


@given(
    noun=anything(Alert), columns=st.lists(st.sampled_from(["fingerprint", "labels", "value", "state"]), unique=True)
)
def test_a_field_without_a_column_is_kept_in_the_rest(noun: Alert, columns: list[str]) -> None:
    row = {**to_row(noun, [*columns, "rest"]), "position": 7}
    assert row.keys() == {*columns, "rest", "position"}
    assert normal(from_row(Alert, row)) == normal(noun)


def test_a_field_that_a_row_does_not_have_takes_its_default() -> None:
    plain = encode(Pause("all", "ann", "x", 1.0, 2.0))
    del plain["until"]
    assert decode(Pause, plain) == Pause("all", "ann", "x", 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": 1},
        {"since": "soon"},
        {"since": True},
        {"since": None},
        {"color": "red"},
        {"by": None},
        {"until": []},
    ],
)
def test_what_does_not_fit_the_noun_is_not_read(wrong: dict[str, Any]) -> None:
    plain = {**encode(Pause("all", "ann", "x", 1.0)), **wrong}
    with pytest.raises(RowError):
        decode(Pause, plain)


@pytest.mark.parametrize("missing", ["scope", "since"])
def test_a_row_without_a_field_that_has_no_default_is_not_read(missing: str) -> None:
    plain = encode(Pause("all", "ann", "x", 1.0))
    del plain[missing]
    with pytest.raises(RowError, match=missing):
        decode(Pause, plain)


def test_a_state_that_no_one_knows_is_not_read() -> None:
    with pytest.raises(RowError, match="'melting' is not a valid AlertState"):
        decode(Alert, {"state": "melting"})
    assert AlertState("firing") is AlertState.FIRING


def test_what_is_not_a_yaml_value_is_not_written() -> None:
    with pytest.raises(RowError, match="not a YAML value"):
        encode(Entry("engine", "x", data={"a": {1, 2}}))  # type: ignore[dict-item]
    with pytest.raises(RowError, match="not text"):
        encode(Entry("engine", 3))  # type: ignore[arg-type]


def test_numbers_of_numpy_are_written_as_plain_ones() -> None:
    import numpy as np

    data = {"share": np.float32(0.5), "count": np.int64(3)}
    assert encode(Entry("engine", "x", data=data))["data"] == {"share": 0.5, "count": 3}
