"""Conditions are read when a file is loaded: what is wrong with one is shown under its very characters in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.config.document import Document
from engine.config.errors import Problem, Severity, quoted
from engine.config.tree import KeyPath
from engine.model.runbook import Scope, Value
from engine.promql import Expression, ParseError, comparisons, experimental, longest_range, parse, unsupported
from engine.promql.check import type_of
from engine.promql.syntax import SETS, Aggregation, Binary, Call, Selector, Side, Subquery, Type, walk
from engine.templates import Rendered

_WRITES_A_LABEL = frozenset({"label_replace", "label_join"})
_ABSENCE = frozenset({"absent", "absent_over_time"})


@dataclass(slots=True)
class Expressions:
    """Reads the expressions of one runbook variant; `places` tell where each rendered character comes from."""

    document: Document
    places: dict[KeyPath, Rendered]
    problems: list[Problem] = field(default_factory=list)
    longest: float = 0.0

    def check_all(self, data: Mapping[str, Value]) -> None:
        """Read every expression of a runbook, whatever else is wrong with it."""
        fleet_wide = _scope(data.get("trigger"))
        for path, rendered in self.places.items():
            if not rendered.text.strip():
                continue
            if path == ("localize", "culprit", "expr"):
                self.vector(rendered.text, path, fleet_wide)
                continue
            around: Value = data
            for part in path[:-1] if path[-1] == "expr" else path:
                match around:
                    case Mapping():
                        around = around[str(part)]
                    case tuple() if isinstance(part, int):
                        around = around[part]
            self.condition(rendered.text, path, _scope(around))

    def condition(self, text: str, path: KeyPath, scope: Scope) -> None:
        """Note what keeps `text` from being a condition about `scope`."""
        tree = self.vector(text, path, scope)
        if tree is not None and not is_condition(tree):
            message = "this holds for every series that exists: it compares nothing"
            self._note("not-a-condition", message, path, (0, len(text)), "compare it, as in '… > 0'", Severity.WARNING)

    def vector(self, text: str, path: KeyPath, scope: Scope) -> Expression | None:
        """Return the tree of an expression that gives a vector, joined to a target unless it is about the fleet."""
        try:
            tree = parse(text)
        except ParseError as error:
            self._note("bad-promql", error.message, path, (error.start, error.end))
            return None
        if type_of(tree) is not Type.VECTOR:
            kind = type_of(tree)
            self._note("bad-promql", f"expected an instant vector, this is a {kind}", path, tree.span)
            return None
        self.longest = max(self.longest, longest_range(tree))
        for remark in unsupported(tree):
            self._note("not-evaluated", remark.message, path, remark.span, severity=Severity.WARNING)
        for remark in experimental(tree):
            self._note("experimental", remark.message, path, remark.span, severity=Severity.WARNING)
        if scope is Scope.TARGET and not has_instance(tree):
            message = "the result has no label 'instance', so it says nothing about a target"
            fix = "keep the label, as with 'by (instance)', or say 'scope: fleet' where that is a key"
            self._note("no-instance", message, path, tree.span, fix)
        return tree

    def _note(
        self,
        code: str,
        message: str,
        path: KeyPath,
        span: tuple[int, int],
        fix: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Keep a problem under the characters of the file that `span` comes from."""
        rendered = self.places.get(path, Rendered(""))
        filled = rendered.filled(span[0])
        if filled is not None:
            message = f"{message} (a template gives {quoted(filled)} here)"
        start = rendered.source(span[0])
        end = max(start, rendered.source(max(span[0], span[1] - 1)))
        first, last = (self.document.index(path, offset=each) for each in (start, end))
        width = last - first + 1 if "\n" not in self.document.text[first:last] else 1
        self.problems.append(
            self.document.problem(code, message, path, offset=start, width=width, fix=fix, severity=severity)
        )


def _scope(section: Value) -> Scope:
    """Return the scope that a mapping gives itself; the target, unless it says otherwise."""
    return Scope.FLEET if isinstance(section, Mapping) and section.get("scope") == Scope.FLEET else Scope.TARGET


def is_condition(tree: Expression) -> bool:
    """Return whether an expression leaves series out by what they say: it compares, or asks for absence."""
    match tree:
        case Binary(operator=operator, left=left, right=right) if operator in SETS:
            return any(is_condition(side) for side in (left, right)) or operator != "or"
        case Call(function=function) if function in _ABSENCE:
            return True
        case Binary(bool=True):
            return False
        case _:
            return bool(comparisons(tree)) or any(
                isinstance(node, Binary) and comparisons(node) and not node.bool for node in walk(tree)
            )


def has_instance(tree: Expression) -> bool:
    """Return whether the result can carry the label `instance`; only what surely drops it says no."""
    match tree:
        case Aggregation(operator="topk" | "bottomk" | "limitk" | "limit_ratio", expression=below):
            return has_instance(below)
        case Aggregation(grouping=grouping, without=without, expression=below):
            return ("instance" in grouping) is not without and has_instance(below)
        case Binary(operator=operator, left=left, right=right) if operator == "or":
            return has_instance(left) or has_instance(right)
        case Binary(operator=operator, left=left) if operator in SETS:
            return has_instance(left)
        case Binary(left=left, right=right, matching=matching):
            if type_of(right) is not Type.VECTOR:
                return has_instance(left)
            if type_of(left) is not Type.VECTOR or matching.many is Side.RIGHT:
                return has_instance(right)
            if matching.many is Side.NEITHER and matching.labels and matching.on is not ("instance" in matching.labels):
                return False
            return has_instance(left)
        case Call(function=function) if function in _WRITES_A_LABEL:
            return True
        case Call(function=function, arguments=arguments) if function in _ABSENCE:
            return any(
                matcher.name == "instance"
                for node in walk(arguments[0])
                if isinstance(node, Selector)
                for matcher in node.matchers
            )
        case Subquery(expression=below):
            return has_instance(below)
        case Call(function="vector" | "time"):
            return False
        case Call(arguments=arguments):
            vectors = [argument for argument in arguments if type_of(argument) in (Type.VECTOR, Type.RANGE)]
            return any(has_instance(argument) for argument in vectors) if vectors else False
        case _:
            return True
