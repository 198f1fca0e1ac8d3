"""Recording rules, in the settings or in files of Prometheus's own format."""

from __future__ import annotations

from pathlib import Path

from engine.config.checking import check
from engine.config.document import read_document
from engine.config.errors import Problem
from engine.config.settings_file import RulesFile
from engine.model.runbook import RecordingRule


def read_rules(path: Path) -> tuple[tuple[RecordingRule, ...], tuple[Problem, ...]]:
    """Return the recording rules of a file and everything that is wrong with it."""
    document = read_document(path)
    if document.root is None:
        return (), document.problems
    content, problems = check(RulesFile, document.data, document)
    groups = content.groups if content is not None else ()
    rules = (rule for group in groups for rule in group.rules)
    found = tuple(RecordingRule(rule.record or "", rule.expr or "", dict(rule.labels)) for rule in rules)
    return found, (*document.problems, *problems)
