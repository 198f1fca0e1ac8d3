"""Three-valued answers: what an expression says, and what it could not know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.model.instance import on_any_port, with_port, with_port_kept
from engine.model.labels import Sample


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression to be asked at the instant of the tick; equal queries are asked once."""

    expr: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What data one selector of an expression had.

    `instances` are the values of the `instance` label with a fresh sample ("" for series without one); `short` are those
    among them whose samples do not yet reach back over enough of the selector's range to judge by.
    `reach` is the span the selector needs in seconds (0 for an instant selector), `oldest` the age in seconds of
    its oldest sample within that range (None without samples). `old` are the instances whose newest sample is of the last
    minutes, yet not fresh.
    """

    selector: str
    instances: frozenset[str]
    short: frozenset[str] = frozenset()
    reach: float = 0.0
    oldest: float | None = None
    old: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an expression said at one instant.

    `samples` is the resulting vector (a scalar is one sample without labels), in PromQL's order. `needs` has one entry
    for each selector that the expression cannot do without. `error` is set when the evaluator erred; then nothing else is.
    """

    query: Query
    samples: tuple[Sample, ...] = ()
    needs: Sequence[Coverage] = ()
    error: str | None = None
    _places: Mapping[str, Sequence[int]] | None = field(default=None, init=False, repr=False, compare=False)
    _ports: Mapping[str, Sequence[str]] | None = field(default=None, init=False, repr=False, compare=False)

    def about(self, instances: Collection[str]) -> tuple[Sample, ...]:
        """Return the samples whose `instance` is among `instances`, or is one of them on some port."""
        places, ports = self._by_instance(), self._by_host()
        asked = set(instances)
        if ports:
            asked.update(each for host in on_any_port(frozenset(instances)) for each in ports.get(host, ()))
        found = [place for instance in asked for place in places.get(instance, ())]
        return tuple(self.samples[place] for place in sorted(found))

    def _by_instance(self) -> Mapping[str, Sequence[int]]:
        """Return where the samples of each instance stand: worked out once, since every target is asked about."""
        if self._places is None:
            places: dict[str, list[int]] = {}
            for place, sample in enumerate(self.samples):
                places.setdefault(sample.labels.get("instance", ""), []).append(place)
            object.__setattr__(self, "_places", places)
            return places
        return self._places

    def _by_host(self) -> Mapping[str, Sequence[str]]:
        """Return the instances with a port that the samples have, by host."""
        if self._ports is None:
            ports = with_port(self._by_instance())
            object.__setattr__(self, "_ports", ports)
            return ports
        return self._ports

    def missing(self, instances: Collection[str]) -> tuple[str, ...]:
        """Say, a sentence for each selector, why the answer about `instances` is not known; empty when it is."""
        if self.error is not None:
            return (self.error,)
        return tuple(reason for need in self.needs if (reason := lacking(need, instances)) is not None)

    def truth(self, instances: Collection[str]) -> Truth:
        """Return whether the expression holds for the target that exports as one of `instances`.

        Only with data does an empty result mean false: a selector without a fresh sample of the target, or whose
        range is not yet filled, makes the answer unknown, whatever the result says.
        """
        if self.missing(instances):
            return Truth.UNKNOWN
        return Truth.TRUE if self.about(instances) else Truth.FALSE

    def fleet_missing(self) -> tuple[str, ...]:
        """Say why the answer about the whole fleet is not known; empty when it is."""
        if self.error is not None:
            return (self.error,)
        return tuple(reason for need in self.needs if (reason := lacking(need, need.instances)) is not None)

    def fleet_truth(self) -> Truth:
        """Return whether the expression holds for any series at all; unknown when a selector has no fresh sample."""
        if self.fleet_missing():
            return Truth.UNKNOWN
        return Truth.TRUE if self.samples else Truth.FALSE


def lacking(need: Coverage, instances: Collection[str]) -> str | None:
    """Say what `need` lacks for a target that exports as any of `instances`; None when it has what it takes.

    Series that carry no `instance` at all (recorded aggregates) count for every target.
    """
    whole = instances is need.instances
    fresh = instances if whole else [each for each in (*instances, "") if each in need.instances]
    if fresh and not need.short:
        return None
    if not whole and (ports := with_port_kept(need.instances)):
        fresh = [*fresh, *(each for host in on_any_port(frozenset(instances)) for each in ports.get(host, ()))]
    if not fresh:
        return f"no fresh sample of {need.selector}" if is_old(need, instances) else f"no series {need.selector} here"
    if need.short and all(each in need.short for each in fresh):
        have = "none" if need.oldest is None else f"{need.oldest:.0f}s"
        return f"{need.selector} needs {need.reach:.0f}s of samples, has {have}"
    return None


def is_old(need: Coverage, instances: Collection[str]) -> bool:
    """Return whether there are samples for any of `instances`, only that they are not fresh."""
    if instances is need.instances:
        return bool(need.old)
    ports = with_port_kept(need.old)
    return any(each in need.old for each in (*instances, "")) or any(
        host in ports for host in on_any_port(frozenset(instances))
    )
