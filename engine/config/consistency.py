"""What each key alone does not show: keys of a runbook that contradict each other, or need each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.config.document import Document
from engine.config.errors import Problem, Severity, did_you_mean, quoted
from engine.config.runbook_file import RemedySection, RunbookFile
from engine.config.tree import KeyPath
from engine.model.runbook import Scope, Value
from engine.model.secrecy import secret_names
from engine.model.target import Fleet


def contradictions(content: RunbookFile, document: Document, fleet: Fleet) -> Iterator[Problem]:
    """Yield a problem for each contradiction."""
    if content.verify.for_ > content.verify.within:
        message = "a signal cannot hold for longer than the time it has: 'for' is more than 'within'"
        yield document.problem("wrong-value", message, ("verify", "for"))
    if not content.remedies:
        yield document.problem("no-remedies", "there is nothing that it could do", ("remedies",), at_key=True)
    yield from _target(content, document, fleet)
    healthy = content.guards.min_healthy
    if healthy is not None and len(fleet) and not fleet.group(healthy.group):
        groups = sorted(set().union(*(target.groups for target in fleet)))
        message = f"the inventory has no group {quoted(healthy.group)}: it would hold every remedy"
        path: KeyPath = ("guards", "min_healthy", "group")
        fix = did_you_mean(healthy.group, groups)
        yield document.problem("unknown-name", message, path, fix=fix, severity=Severity.WARNING)
    serial = content.guards.serial
    if serial is not None and len(fleet) and not any(serial in target.variables for target in fleet):
        message = f"no host has the variable {quoted(serial)}: it would hold every remedy"
        known = sorted(set().union(*(target.variables for target in fleet)))
        path = ("guards", "serial")
        fix = did_you_mean(serial, known)
        yield document.problem("unknown-name", message, path, fix=fix, severity=Severity.WARNING)
    for rung, remedy in enumerate(content.remedies):
        yield from _remedy(remedy, ("remedies", rung), document)
        yield from _secrets(remedy, ("remedies", rung), document)
    for number, step in enumerate(content.rescue):
        yield from _told(step.vars, ("rescue", number, "vars"), document)


def _target(content: RunbookFile, document: Document, fleet: Fleet) -> Iterator[Problem]:
    target = content.localize.target
    if content.trigger.scope is Scope.FLEET:
        if target is None:
            message = "a trigger with 'scope: fleet' needs 'target': nothing else says which host is acted on"
            yield document.problem("missing-key", message, ("localize",), at_key=True)
        elif len(fleet) and fleet.get(target) is None:
            message = f"the inventory has no host {quoted(target)}"
            fix = did_you_mean(target, list(fleet.targets))
            path: KeyPath = ("localize", "target")
            yield document.problem("unknown-name", message, path, fix=fix, severity=Severity.WARNING)
    elif target is not None:
        message = "'target' is for a trigger with 'scope: fleet'; otherwise the alert says which host it is"
        yield document.problem("wrong-value", message, ("localize", "target"), at_key=True)


def _remedy(remedy: RemedySection, path: KeyPath, document: Document) -> Iterator[Problem]:
    if remedy.playbook is not None and remedy.steps is not None:
        message = "a remedy has a 'playbook' or 'steps', not both"
        yield document.problem("wrong-value", message, (*path, "steps"), at_key=True)
    elif remedy.playbook is None and not remedy.steps:
        yield document.problem("missing-key", "a remedy needs a 'playbook', or 'steps'", path)
    elif remedy.steps is not None:
        for key in ("hosts", "vars", "timeout"):
            if key in remedy.model_fields_set:
                yield document.problem("wrong-value", f"'{key}' belongs into a step", (*path, key), at_key=True)


def _secrets(remedy: RemedySection, path: KeyPath, document: Document) -> Iterator[Problem]:
    """Yield a problem for each variable that would carry a secret: what is decided and run is written down."""
    places: list[tuple[KeyPath, Mapping[str, Value]]] = [((*path, "vars"), remedy.vars)]
    for key, steps in (("steps", remedy.steps or ()), ("finally", remedy.finally_)):
        places += [((*path, key, number, "vars"), step.vars) for number, step in enumerate(steps)]
    for place, variables in places:
        yield from _told(variables, place, document)


def _told(variables: Mapping[str, Value], place: KeyPath, document: Document) -> Iterator[Problem]:
    for name in secret_names(variables):
        message = f"{quoted('.'.join(name))} looks like a secret, and variables are written into the record"
        fix = "let the playbook read it from the inventory or from a vault"
        yield document.problem("secret", message, (*place, *name), fix=fix)
