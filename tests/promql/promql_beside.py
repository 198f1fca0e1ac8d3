"""What two answers differ in, and the differences from Prometheus that are meant."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from promql_memory import Memory

from engine.model.labels import Labels
from engine.model.truth import Answer as QueryAnswer
from engine.promql import EvaluationError, Matrix, ParseError, Scalar, Text, Vector, evaluate, evaluate_range, parse
from engine.promql.syntax import Expression, Selector, Subquery, children
from tests.lab_tools.prometheus_server import PrometheusServer

BEGIN = 1_790_000_000_000 + 7_000
RELATIVE = 1e-9
FLOOR = 1e-9
"""So far from zero may a sum be that ought to be zero."""
DEFAULT_STEP = 1000
"""The server's evaluation interval, which is the step of a subquery that names none."""

Answer = dict[Labels, dict[int, float]] | str


@dataclass(frozen=True)
class Known:
    """A difference that is meant: why, a question that shows it (at BEGIN + 2 min), and how to tell it in others."""

    reason: str
    example: str
    shows: Callable[[str, Answer, Answer], bool] = lambda *_: False


def refuses_matches(_: str, mine: Answer, other: Answer) -> bool:
    return isinstance(mine, str) and "multiple matches" in mine and not isinstance(other, str)


def shifts_timestamp(text: str, *_: Answer) -> bool:
    return re.search(r"timestamp\([^()]*@ ?(start\(\)|end\(\)|[\d.]+) offset", text) is not None


def pins_thrice(text: str, *_: Answer) -> bool:
    """Return whether a pinned selector stands in a pinned subquery in a pinned subquery."""

    def depth(node: Expression, pinned: int) -> int:
        here = pinned + (isinstance(node, Selector | Subquery) and node.at is not None)
        return max((depth(child, here) for child in children(node)), default=here)

    return depth(parse(text), 0) > 2


def in_first_bucket(text: str, mine: Answer, other: Answer) -> bool:
    """Return whether all that differs is a fraction that has an end in the first bucket, which 3.5 does not know."""
    if "histogram_fraction" not in text or isinstance(mine, str) or isinstance(other, str):
        return False
    pairs = [
        (mine[labels].get(at), value)
        for labels, samples in other.items()
        for at, value in samples.items()
        if labels in mine
    ]
    return all(math.isnan(value) or (own is not None and same(own, value, RELATIVE)) for own, value in pairs)


def chooses_nothing(text: str, mine: Answer, _: Answer) -> bool:
    said = isinstance(mine, str) and ("Parameter value is NaN" in mine or "the number is out of range" in mine)
    return said and re.search("topk|bottomk|limitk", text) is not None


def rounds_spread(text: str, mine: Answer, other: Answer) -> bool:
    spread = re.search(r"(stddev|stdvar)\b", text) is not None
    return spread and difference(mine, other, relative=1e-6) is None


KNOWN = (
    Known(
        "the calendar has no place for NaN and the infinities; Prometheus converts them as the processor happens to",
        "month(vector(NaN))",
    ),
    Known(
        "mad_over_time of a NaN is NaN since Prometheus 3.9 or so; 3.5 takes it for the least value",
        "mad_over_time(odd[2m])",
    ),
    Known(
        "a comparison refuses several partners whether or not they pass it, as newer Prometheus does; 3.5 looks at those that do",
        "(odd or label_replace(odd, 'a', '1', '', '')) == on () vector(-7)",
        refuses_matches,
    ),
    Known(
        "timestamp() over a selector with @ forgets its offset in Prometheus (the offset takes the place that @ needs)",
        f"timestamp(odd @ {BEGIN / 1000 + 60} offset -1m)",
        shifts_timestamp,
    ),
    Known(
        "a pinned selector in a pinned subquery in a pinned subquery: Prometheus selects beside the data and finds nothing",
        "count_over_time((last_over_time((odd @ end())[7m30s:30s] @ end()))[7m30s:30s] @ end())",
        pins_thrice,
    ),
    Known(
        "an end of histogram_fraction in the first bucket gives NaN in 3.5, and what newer Prometheus says here",
        "histogram_fraction(0, 0.5, falling_bucket)",
        in_first_bucket,
    ),
    Known(
        "topk and its kin refuse a number that is none also where there is nothing to choose from, as newer Prometheus does",
        "topk(NaN, missing)",
        chooses_nothing,
    ),
    Known(
        "the spread of series whose large values lie close together: Prometheus takes a running mean, in an order of its own",
        "stddev(vector(1.79e9 + 0.1) or label_replace(vector(1.79e9 + 3.3), 'a', '1', '', '')"
        " or label_replace(vector(1.79e9 + 4.7), 'a', '2', '', ''))",
        rounds_spread,
    ),
)


@dataclass
class Told:
    """What became of the comparisons, for the last line of the run."""

    counts: Counter[str] = field(default_factory=Counter)

    def judge(self, text: str, mine: Answer, other: Answer) -> str | None:
        """Return in words what differs in a way that is not known; None where nothing does."""
        kind = "errors" if isinstance(other, str) and other.startswith("error:") else "answers" if other else "empty"
        self.counts[kind] += 1
        found = difference(mine, other)
        if found is None:
            return None
        known = [known.reason for known in KNOWN if known.shows(text, mine, other)]
        if known:
            self.counts[f"known: {known[0]}"] += 1
        return None if known else found


def theirs(server: PrometheusServer, text: str, start: int, end: int, step: int) -> Answer:
    """Return what Prometheus says; "error" where it refuses."""
    if step:
        found = server.query("/api/v1/query_range", query=text, start=start / 1000, end=end / 1000, step=step / 1000)
    else:
        found = server.query("/api/v1/query", query=text, time=start / 1000)
    if found["status"] != "success":
        return f"error: {found['error']}"
    kind, result = found["data"]["resultType"], found["data"]["result"]
    if kind == "string":
        return str(result[1])
    if kind == "scalar":
        return {Labels(): points([result])}
    return {Labels(row["metric"]): points(row.get("values") or [row["value"]]) for row in result}


def points(rows: list[Any]) -> dict[int, float]:
    return {round(float(at) * 1000): float(value) for at, value in rows}


def ours(memory: Memory, text: str, start: int, end: int, step: int) -> Answer:
    """Return what the evaluator says; "error" where it refuses."""
    try:
        tree = parse(text)
        if step:
            result = evaluate_range(tree, memory, start, end, step, default_step=DEFAULT_STEP)
        else:
            result = evaluate(tree, memory, start, default_step=DEFAULT_STEP)
    except (ParseError, EvaluationError) as wrong:
        return f"error: {wrong}"
    match result:
        case Text(value=value):
            return value
        case Scalar(value=value):
            return {Labels(): {start: value}}
        case Vector(series=series, values=values):
            return {labels: {start: value} for labels, value in zip(series, values.tolist(), strict=True)}
        case Matrix(series=rows):
            return {row.labels: dict(zip(row.times.tolist(), row.values.tolist(), strict=True)) for row in rows}


def answered(answer: QueryAnswer, at: int) -> Answer:
    """Return what a plan says in the same form."""
    if answer.error is not None:
        return f"error: {answer.error}"
    return {sample.labels: {at: sample.value} for sample in answer.samples}


def difference(mine: Answer, other: Answer, relative: float = RELATIVE) -> str | None:
    """Return in words where two answers differ; None where they do not (errors may say it in other words)."""
    if isinstance(mine, str) or isinstance(other, str):
        both = (
            isinstance(mine, str) and isinstance(other, str) and mine.startswith("error:") == other.startswith("error:")
        )
        return (
            None if both and (mine == other or other.startswith("error:")) else f"{summary(mine)} for {summary(other)}"
        )
    if mine.keys() != other.keys():
        return f"series {sorted(map(str, mine))} for {sorted(map(str, other))}"
    for labels, samples in other.items():
        if mine[labels].keys() != samples.keys():
            return f"{labels}: samples at {sorted(mine[labels])} for {sorted(samples)}"
        for at, value in samples.items():
            if not same(mine[labels][at], value, relative):
                return f"{labels} at {at}: {mine[labels][at]!r} for {value!r}"
    return None


def summary(answer: Answer) -> str:
    return answer if isinstance(answer, str) else f"{len(answer)} series"


def same(mine: float, other: float, relative: float) -> bool:
    if math.isnan(mine) or math.isnan(other):
        return math.isnan(mine) and math.isnan(other)
    return mine == other or math.isclose(mine, other, rel_tol=relative, abs_tol=FLOOR)


def compare(memory: Memory, server: PrometheusServer, told: Told, question: tuple[str, int, int, int]) -> None:
    """Ask both; raise AssertionError where they differ in a way that is not known."""
    text, start, end, step = question
    found = told.judge(text, ours(memory, *question), theirs(server, *question))
    assert found is None, f"{text}\n    at {start}, to {end}, step {step}: {found}"
