"""PromQL: the language that conditions are written in, with Prometheus 3's meaning."""

from __future__ import annotations

from engine.promql.block import STALE, Block, Matcher, MatchOperator, Storage
from engine.promql.coverage import answer, coverage
from engine.promql.errors import EvaluationError, ParseError
from engine.promql.evaluate import evaluate, evaluate_range
from engine.promql.explain import Explanation, explain
from engine.promql.parser import parse
from engine.promql.patterns import PatternError, compile_pattern
from engine.promql.plan import Plan
from engine.promql.printing import format_expression, format_matchers
from engine.promql.syntax import Expression
from engine.promql.tree import (
    Comparison,
    Remark,
    Selected,
    bind,
    comparisons,
    experimental,
    longest_range,
    own,
    selectors,
    unsupported,
)
from engine.promql.values import Matrix, Points, Result, Scalar, Text, Vector

__all__ = [
    "STALE",
    "Block",
    "Comparison",
    "EvaluationError",
    "Explanation",
    "Expression",
    "MatchOperator",
    "Matcher",
    "Matrix",
    "ParseError",
    "PatternError",
    "Plan",
    "Points",
    "Remark",
    "Result",
    "Scalar",
    "Selected",
    "Storage",
    "Text",
    "Vector",
    "answer",
    "bind",
    "comparisons",
    "compile_pattern",
    "coverage",
    "evaluate",
    "evaluate_range",
    "experimental",
    "explain",
    "format_expression",
    "format_matchers",
    "longest_range",
    "own",
    "parse",
    "selectors",
    "unsupported",
]
