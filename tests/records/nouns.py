"""Nouns for tests of the record: plain ones by hand, and any at all for properties."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from hypothesis import strategies as st

from engine.model.decision import Change, Entry
from engine.model.execution import Execution, ExecutionState, PlannedStep, TaskEvent
from engine.model.incident import Alert, AlertState, Attempt, Fault, Incident, IncidentState, Suspect
from engine.model.labels import Labels

NOW = 1_800_000_000.0
TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["$float", "$", "$$x", "\x01", "NaN"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def alert(name: str = "HighMemory", target: str = "web1", **more: Any) -> Alert:
    labels = Labels({"alertname": name, "instance": target})
    fields = {"value": 3.5, "active_since": NOW - 60, "last_true": NOW, "last_seen": NOW, **more}
    return Alert(labels.fingerprint(), "memory", name, labels, target, AlertState.FIRING, **fields)


def incident(
    name: str = "i1", target: str = "web1", state: IncidentState = IncidentState.OPEN, **more: Any
) -> Incident:
    suspect = Suspect(target, "memory", "api", 0.9, ("api uses 81% of memory",))
    fields = {"opened_at": NOW, "fault": Fault(suspect, 0.5, ("memory",)), "runbook": "memory", **more}
    return Incident(name, target, "memory", state, **fields)


def attempt(name: str = "a1", owner: str = "i1", started_at: float = NOW, **more: Any) -> Attempt:
    return Attempt(name, owner, "memory", "d1", 0, "restart", "api", "e1", started_at, **more)


def execution(
    name: str = "e1",
    target: str = "web1",
    state: ExecutionState = ExecutionState.PENDING,
    hosts: tuple[str, ...] = (),
    **more: Any,
) -> Execution:
    steps = (PlannedStep("restart.yml", hosts or (target,), {"service": "api", "tries": 2, "wait": 1.5}),)
    return Execution(name, "a1", "i1", "memory", "d1", "restart", target, steps, state, **{"created_at": NOW, **more})


def event(number: int, text: str = "") -> TaskEvent:
    return TaskEvent(number, NOW + number, "ok", host="web1", task="Restart", text=text, data={"changed": True})


def entry(sentence: str, **more: Any) -> Entry:
    return Entry("decision", sentence, incident="i1", target="web1", **more)


def change(version: int, **more: Any) -> Change:
    return Change(version, more.pop("at", NOW), **more)


def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Draw any value of a type hint."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    plain = {str: TEXT, bool: st.booleans(), int: st.integers(), float: st.floats()}
    if hint in plain:
        return plain[hint]
    if hint is Labels:
        return st.dictionaries(TEXT, TEXT, max_size=3).map(Labels)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field.name: anything(hints[field.name]) for field in dataclasses.fields(hint)})
    if origin in (typing.Union, types.UnionType):
        some = [argument for argument in arguments if argument is not types.NoneType]
        return st.none() | anything(some[0]) if len(some) == 1 else VALUES
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=2).map(tuple)
    if origin is frozenset:
        return st.frozensets(anything(arguments[0]), max_size=3)
    assert origin is Mapping, hint
    return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=3)


def normal(value: Any) -> Any:
    """Return a form in which NaN equals itself, and 1, 1.0 and True differ."""
    if dataclasses.is_dataclass(value):
        return (type(value), *(normal(getattr(value, field.name)) for field in dataclasses.fields(value)))
    if isinstance(value, Labels):
        return (Labels, value.pairs)
    if isinstance(value, Mapping):
        return (dict, frozenset((name, normal(item)) for name, item in value.items()))
    if isinstance(value, (tuple, list)):
        return (type(value), *map(normal, value))
    if isinstance(value, float) and math.isnan(value):
        return (float, "NaN")
    return (type(value), math.copysign(1.0, value) if value == 0 and isinstance(value, float) else 1.0, value)
