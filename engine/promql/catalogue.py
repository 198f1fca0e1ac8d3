"""All functions of the language: a new family is a new module, and its line here."""

from __future__ import annotations

from collections.abc import Mapping

from engine.promql import detectors, functions, histograms, over_time, presence, rates, relabelling, times
from engine.promql.frame import Function

FUNCTIONS: Mapping[str, Function] = {
    **detectors.FUNCTIONS,
    **functions.FUNCTIONS,
    **histograms.FUNCTIONS,
    **over_time.FUNCTIONS,
    **presence.FUNCTIONS,
    **rates.FUNCTIONS,
    **relabelling.FUNCTIONS,
    **times.FUNCTIONS,
}
