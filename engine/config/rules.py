"""Recording rules, in the settings or in files of Prometheus's own format."""

from __future__ import annotations

from pathlib import Path

from engine.config.checking import check
from engine.config.document import Document, read_document
from engine.config.errors import Problem
from engine.config.settings_file import RuleSection, RulesFile
from engine.config.tree import KeyPath
from engine.model.runbook import RecordingRule
from engine.promql import ParseError, parse


def read_rules(path: Path) -> tuple[tuple[RecordingRule, ...], tuple[Problem, ...]]:
    """Return the recording rules of a file and everything that is wrong with it."""
    document = read_document(path)
    if document.root is None:
        return (), document.problems
    content, problems = check(RulesFile, document.data, document)
    found = [*document.problems, *problems]
    rules: list[RecordingRule] = []
    for number, group in enumerate(content.groups if content is not None else ()):
        for place, rule in enumerate(group.rules):
            found += rule_problems(rule, document, ("groups", number, "rules", place))
            rules.append(RecordingRule(rule.record or "", rule.expr or "", dict(rule.labels)))
    return tuple(rules), tuple(found)


def rule_problems(rule: RuleSection, document: Document, path: KeyPath) -> tuple[Problem, ...]:
    """Return what is wrong with one rule."""
    if rule.record is None or rule.expr is None:
        return (document.problem("missing-key", "a recording rule has 'record' and 'expr'", path),)
    try:
        parse(rule.expr)
    except ParseError as error:
        width = max(1, error.end - error.start)
        problem = document.problem("bad-promql", error.message, (*path, "expr"), offset=error.start, width=width)
        return (problem,)
    return ()
