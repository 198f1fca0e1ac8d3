"""The embedded evaluator: expressions over the embedded store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from engine.model.truth import Answer, Query
from engine.promql import Plan, Storage
from engine.samples.recent import Recent
from engine.samples.store import SampleStore

PLANS: Final = 32
"""How many sets of expressions are kept planned: those of the catalogue, and what incidents ask beyond."""


class EmbeddedEvaluator:
    """Says what expressions say over `store`, three-valued.

    `fresh` is how old, in seconds, the newest sample of a series may be for its target's answer to be known: a few
    collections' time. With `windows`, what a range selector read stays in memory, so that the next tick reads what is new.
    Thread-safe.
    """

    def __init__(self, store: Storage, *, fresh: float, windows: bool = True) -> None:
        self._store = Recent(store) if windows and isinstance(store, SampleStore) else store
        self._fresh = round(fresh * 1000)
        self._plans: OrderedDict[tuple[Query, ...], Plan] = OrderedDict()
        self._mutex, self._turn = threading.Lock(), threading.Lock()

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return one answer for each query, in order, as of `at` (seconds since the epoch); equal queries are evaluated once.

        An expression that does not parse or errs has an answer with `error` set. What several expressions have in common
        is read and worked out once.
        """
        asked = tuple(queries)
        plan = self._planned(asked)
        with self._turn:  # windows that are kept move on with every evaluation
            answers = plan.answers(self._store, round(at * 1000), self._fresh)
        return tuple(answers[query] for query in asked)

    def _planned(self, queries: tuple[Query, ...]) -> Plan:
        with self._mutex:
            plan = self._plans.pop(queries, None) or Plan(queries)
            self._plans[queries] = plan
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
            return plan
