"""Three-valued answers: what an expression says, and what data it had to say it with."""

from __future__ import annotations

import numpy as np

from engine.model.labels import Labels, Sample
from engine.model.truth import Answer, Coverage, Query
from engine.promql.block import Block, Storage, is_stale
from engine.promql.errors import EvaluationError
from engine.promql.evaluate import LOOKBACK, evaluate
from engine.promql.reading import Remembering
from engine.promql.syntax import Edge, Expression
from engine.promql.tree import Selected, selectors
from engine.promql.values import Matrix, Scalar, Text, Vector

ENOUGH = 0.5
"""A range that is filled for less than this share of it is not judged by."""


def answer(expr: Expression, query: Query, storage: Storage, at: int, fresh: int, lookback: int = LOOKBACK) -> Answer:
    """Return what `expr` says at `at`, with the coverage of each selector that it cannot do without.

    A series is fresh when its newest sample is no stale marker and at most `fresh` old (all in milliseconds). An
    expression that cannot be evaluated over the data gives an answer with an error, never an exception.
    """
    remembering = Remembering(storage)
    try:
        result = evaluate(expr, remembering, at, lookback)
    except EvaluationError as wrong:
        return Answer(query, error=wrong.message)
    match result:
        case Vector():
            samples = result.samples()
        case Scalar(value=value):
            samples = (Sample(Labels(), value),)
        case Text() | Matrix():
            kind = "a string" if isinstance(result, Text) else "a range vector"
            return Answer(query, error=f"the expression is {kind}, which says nothing about an instant")
    return Answer(query, samples, coverage(expr, remembering, at, fresh, lookback))


def coverage(expr: Expression, storage: Storage, at: int, fresh: int, lookback: int = LOOKBACK) -> tuple[Coverage, ...]:
    """Return what data each selector had that `expr` cannot do without, in the order of the text."""
    needs = (_covered(each, storage, at, fresh, lookback) for each in selectors(expr) if each.needed)
    return tuple(dict.fromkeys(needs))


def _covered(each: Selected, storage: Storage, at: int, fresh: int, lookback: int) -> Coverage:
    moment = (at if each.at is None or isinstance(each.at, Edge) else each.at) - each.offset
    # below a subquery, an instant selector looks back from the first step, too
    window = each.reach + (lookback if each.range is None else 0)
    block = storage.select(each.matchers, moment - window, moment)
    reach = each.reach / 1000
    if not block.series:
        return Coverage(each.text, frozenset(), reach=reach)
    instances = [labels.get("instance", "") for labels in block.series]
    alive = _alive(block, moment, fresh)
    ages = ((moment - block.times[block.offsets[:-1]]) / 1000).tolist()
    longest: dict[str, float] = {}
    for instance, age in zip(instances, ages, strict=True):
        longest[instance] = max(age, longest.get(instance, 0.0))
    found = frozenset(instance for instance, lives in zip(instances, alive, strict=True) if lives)
    short = frozenset(instance for instance in found if longest[instance] < reach * ENOUGH)
    # the number stands in a sentence about those that fall short, where any do
    told = short or longest.keys()
    return Coverage(each.text, found, short, reach, max(longest[instance] for instance in told))


def _alive(block: Block, moment: int, fresh: int) -> list[bool]:
    """Return which series have a newest sample that is fresh, and no stale marker."""
    filled = np.diff(block.offsets) > 0
    last = np.maximum(block.offsets[1:] - 1, 0)
    alive: list[bool] = (filled & (moment - block.times[last] <= fresh) & ~is_stale(block.values[last])).tolist()
    return alive
