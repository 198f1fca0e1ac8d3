"""How one drill went: what the scorecard keeps, and what people look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.chaos.experiment import Ending


@dataclass(frozen=True, slots=True)
class Mark:
    """Something on the timeline: seconds from the first injection, what kind, on which host, in words.

    `kind` is injection, alert, incident, decision, run (with `until`), verified, outside, undo or operator.
    """

    at: float
    kind: str
    text: str
    host: str = ""
    until: float | None = None
    good: bool | None = None

    @property
    def latest(self) -> float:
        """Return when something of it happened last: its end, where it is a span that has ended."""
        return self.at if self.until is None else self.until


@dataclass(frozen=True, slots=True)
class Harm:
    """What it cost: requests that failed, rows that were acknowledged and are gone, money out of nothing, and acts nobody expected."""

    requests: int = 0
    failed: int = 0
    acknowledged: int = 0
    lost: int | None = None
    """Acknowledged transfers that are gone; None where there was no way to look."""
    wrong_total: bool | None = None
    acts: tuple[str, ...] = ()
    """Executions on hosts, or by runbooks, that the experiment does not expect."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one truth; times in seconds from its injection, None where it did not come to that."""

    injection: str
    action: str
    node: str
    resource: str
    culprit: str
    expect: Ending
    ending: Ending
    within: float
    detected: float | None = None
    named: float | None = None
    first: bool = False
    """The first suspect was the right one."""
    third: bool = False
    """The right one was among the first three."""
    concluded: str = ""
    recovered: float | None = None
    """Seen from outside."""
    verified: float | None = None
    """By the engine's own verification."""
    recurred: bool = False
    runbooks: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One drill; `version` and `digest` are what it is a proof for."""

    experiment: str
    summary: str
    digest: str
    version: str
    commit: str
    at: float
    seed: int
    repeat: int
    seconds: float
    found: tuple[Found, ...]
    harm: Harm
    false_alarms: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    timeline: tuple[Mark, ...] = ()
    traffic: tuple[tuple[float, int, int], ...] = ()
    """Seconds from the first injection, requests that were answered, and that failed, in each second or more."""
    surroundings: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Return whether everything was as it is to be."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Say what was not as it is to be."""
        said = list(self.remarks)
        for each in self.found:
            if each.ending is not each.expect:
                said.append(f"{each.resource} of {each.node}: {each.ending}, expected {each.expect}")
            elif each.expect is not Ending.HELD and not each.first:
                said.append(f"{each.resource} of {each.node} was taken for {each.concluded or 'nothing'}")
        if self.harm.lost:
            said.append(f"{self.harm.lost} acknowledged transfers are gone")
        if self.harm.wrong_total:
            said.append("the total of all accounts is wrong")
        said += [f"not expected: {act}" for act in self.harm.acts]
        said += [f"false alarm: {alarm}" for alarm in self.false_alarms]
        return tuple(said)


def as_mapping(result: Result) -> dict[str, Any]:
    """Return a result as the scorecard has it; `passed` and `failures` for whoever reads it without us."""
    return {**dataclasses.asdict(result), "passed": result.passed, "failures": list(result.failures)}


def from_mapping(raw: Mapping[str, Any]) -> Result:
    """Return the result that `as_mapping` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    plain = {name: value for name, value in raw.items() if name not in ("passed", "failures")}
    plain["found"] = tuple(
        Found(
            **{
                **each,
                "expect": Ending(each["expect"]),
                "ending": Ending(each["ending"]),
                "runbooks": tuple(each["runbooks"]),
                "digests": tuple(each["digests"]),
            }
        )
        for each in raw["found"]
    )
    plain["harm"] = Harm(**{**raw["harm"], "acts": tuple(raw["harm"]["acts"])})
    plain["timeline"] = tuple(Mark(**each) for each in raw["timeline"])
    plain["traffic"] = tuple((float(at), int(good), int(bad)) for at, good, bad in raw["traffic"])
    for name in ("false_alarms", "remarks"):
        plain[name] = tuple(raw[name])
    return Result(**plain)
