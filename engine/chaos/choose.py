"""Chooses, by a seed alone, in which order experiments are run and which nodes they hit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from engine.chaos.experiment import Experiment, Hit, Injection, Pick
from engine.chaos.place import DrillError, Place, RefusedError


def order(turns: Sequence[tuple[Experiment, int]], seed: int) -> list[tuple[Experiment, int]]:
    """Return the turns shuffled, those of one experiment in their own order."""
    dice = random.Random(seed)  # noqa: S311  dice, not secrets
    shuffled = list(turns)
    dice.shuffle(shuffled)
    left = {
        experiment.name: sorted(number for each, number in turns if each.name == experiment.name)
        for experiment, _ in turns
    }
    return [(experiment, left[experiment.name].pop(0)) for experiment, _ in shuffled]


def hits(experiment: Experiment, number: int, place: Place, roles: Mapping[str, str], seed: int) -> tuple[Hit, ...]:
    """Return each injection with the node that it hits in repeat `number`; repeats take turns among the nodes.

    `roles` says which database server is what now. Raises RefusedError for a host outside the lab, DrillError when none is left.
    """
    found: list[Hit] = []
    for injection in experiment.injections:
        nodes = candidates(injection, place, roles)
        dice = random.Random(f"{seed} {experiment.name} {injection.name}")  # noqa: S311  dice, not secrets
        dice.shuffle(nodes)
        count = {Pick.ONE: 1, Pick.ALL: len(nodes), Pick.FIXED: injection.count}[injection.pick]
        if count > len(nodes):
            raise DrillError(f"{experiment.name} wants {count} nodes, and there are {len(nodes)}")
        first = (number - 1) % len(nodes)
        turned = nodes[first:] + nodes[:first]
        for node in turned[:count]:
            truth = injection.truth.at(node) if injection.truth is not None else None
            found.append(Hit(injection, node, truth, injection.parameters))
    return tuple(found)


def candidates(injection: Injection, place: Place, roles: Mapping[str, str]) -> list[str]:
    """Return the nodes that an injection may hit, in the inventory's order."""
    names = [place.node(name).name for name in injection.hosts]
    names += [node.name for group in injection.groups for node in place.group(group)]
    if injection.role:
        names = [name for name in names if roles.get(name) == injection.role]
    if not names:
        wanted = f"{injection.role} of " if injection.role else ""
        raise RefusedError(
            f"{injection.name}: the lab has no {wanted}{', '.join((*injection.hosts, *injection.groups))}"
        )
    return list(dict.fromkeys(names))
