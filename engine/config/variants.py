"""One runbook, several hosts: which values of its params and which mode each host gets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from engine.config.document import Document
from engine.config.errors import Problem, Severity, did_you_mean, quoted
from engine.config.project import Layers, Settings
from engine.config.tree import KeyPath
from engine.model.runbook import Approval, Mode, Scalar
from engine.model.target import Fleet, Target


@dataclass(frozen=True, slots=True)
class Variant:
    """Values of params that differ from the file's own, a mode that does, and the hosts these are for (None: all)."""

    params: Mapping[str, Scalar]
    mode: Mode | None
    hosts: frozenset[str] | None

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in sorted(self.params.items()))


def variants(name: str, settings: Settings, fleet: Fleet) -> tuple[tuple[Variant, ...], tuple[Problem, ...]]:
    """Return one variant of the runbook for each distinct set of overrides among the fleet's hosts."""
    params = settings.params.get(name, Layers())
    modes = settings.modes.get(name, Layers())
    everyone = dict(params.all or {})
    if not len(fleet):
        return (Variant(everyone, modes.all, None),), ()
    problems: list[Problem] = []
    members: dict[tuple[tuple[tuple[str, Scalar], ...], Mode | None], set[str]] = {}
    for target in fleet:
        values = {**everyone, **_of_groups(name, params.groups, target, settings, problems)}
        values |= params.hosts.get(target.name, {})
        mode = modes.hosts.get(target.name) or _mode_of_groups(modes.groups, target)
        key = (tuple(sorted(values.items())), mode or modes.all)
        members.setdefault(key, set()).add(target.name)
    alone = len(members) == 1
    found = tuple(
        Variant(dict(values), mode, None if alone else frozenset(hosts)) for (values, mode), hosts in members.items()
    )
    return found, tuple(problems)


def _of_groups(
    name: str, groups: Mapping[str, Mapping[str, Scalar]], target: Target, settings: Settings, problems: list[Problem]
) -> dict[str, Scalar]:
    """Return what the host's groups say; two that disagree about one param are a problem, for neither is narrower."""
    values: dict[str, tuple[str, Scalar]] = {}
    for group, own in groups.items():
        if group not in target.groups:
            continue
        for param, value in own.items():
            if param in values and values[param][1] != value and param not in _own(settings, name, target):
                message = f"{target.name} is in {values[param][0]} and in {group}, which disagree about {param}"
                path: KeyPath = ("params", name, "groups", group, param)
                fix = f"say it for the host: hosts: {{{target.name}: {{{param}: …}}}}"
                problems.append(settings.document.problem("ambiguous", message, path, at_key=True, fix=fix))
            values.setdefault(param, (group, value))
    return {param: value for param, (_, value) in values.items()}


def _own(settings: Settings, name: str, target: Target) -> Mapping[str, Scalar]:
    return settings.params[name].hosts.get(target.name, {})


def _mode_of_groups(groups: Mapping[str, Mode], target: Target) -> Mode | None:
    """Return the mode that the host's groups say; of two the more careful one, for that harms nobody."""
    careful = [Mode.SHADOW, Mode.APPROVE, Mode.AUTO]
    return min((mode for group, mode in groups.items() if group in target.groups), key=careful.index, default=None)


def approvals(layers: Layers[Approval], fleet: Fleet) -> dict[str, Approval]:
    """Return what the settings say of approvals on each host that they speak of; of two groups the more careful one."""
    careful = [Approval.NEVER, Approval.DESTRUCTIVE, Approval.ALWAYS]
    found: dict[str, Approval] = {}
    for target in fleet:
        groups = [own for group, own in layers.groups.items() if group in target.groups]
        said = layers.hosts.get(target.name) or max(groups, key=careful.index, default=None) or layers.all
        if said is not None:
            found[target.name] = said
    return found


def unknown_names(
    settings: Settings, fleet: Fleet, params: Mapping[str, Collection[str]], known: Collection[str]
) -> tuple[Problem, ...]:
    """Return what the settings name that does not exist: runbooks, their params, groups and hosts.

    `params` are those of the runbooks that could be read; `known` are all runbooks' names.
    """
    problems: list[Problem] = []
    document = settings.document
    groups = {"all"}.union(*(target.groups for target in fleet))
    for word, one, there in (
        *(("group", group, groups) for group in settings.approvals.groups),
        *(("host", host, set(fleet.targets)) for host in settings.approvals.hosts),
    ):
        if one not in there and len(fleet):
            message = f"the inventory has no {word} {quoted(one)}"
            problems.append(_unknown(document, message, ("approval", f"{word}s", one), there, Severity.WARNING))
    for section, layered in (("params", settings.params), ("modes", settings.modes)):
        for name, layers in layered.items():
            if name not in known:
                problems.append(_unknown(document, f"there is no runbook {quoted(name)}", (section, name), known))
                continue
            for kind, named, there in (
                ("groups", layers.groups, groups),
                ("hosts", layers.hosts, set(fleet.targets)),
            ):
                for one in named:
                    if one not in there and len(fleet):
                        message = f"the inventory has no {kind[:-1]} {quoted(one)}"
                        path: KeyPath = (section, name, kind, one)
                        problems.append(_unknown(document, message, path, there, Severity.WARNING))
    for name, overrides in settings.params.items():
        if name not in params:
            continue
        layers_of: list[tuple[KeyPath, Mapping[str, Scalar]]] = [(("params", name, "all"), overrides.all or {})]
        layers_of += [(("params", name, "groups", group), own) for group, own in overrides.groups.items()]
        layers_of += [(("params", name, "hosts", host), own) for host, own in overrides.hosts.items()]
        for path, own in layers_of:
            for param in own:
                if param not in params[name]:
                    message = f"the runbook {quoted(name)} has no param {quoted(param)}"
                    problems.append(_unknown(document, message, (*path, param), params[name]))
    return tuple(problems)


def _unknown(
    document: Document, message: str, path: KeyPath, known: Collection[str], severity: Severity = Severity.ERROR
) -> Problem:
    word = str(path[-1])
    fix = did_you_mean(word, known) or (f"there are {', '.join(sorted(known))}" if known else None)
    return document.problem("unknown-name", message, path, at_key=True, fix=fix, severity=severity)
