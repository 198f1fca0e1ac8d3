"""Targets: hosts as the inventory names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.model.labels import Labels


@dataclass(frozen=True, slots=True)
class Target:
    """A host, named by its Ansible `inventory_hostname`.

    `instances` are the values of the label `instance` that mean this host. `depends_on` names the hosts whose failure explains
    this host's own troubles. `variables` are those host variables that are plain text, numbers or booleans, as text.
    """

    name: str
    groups: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()
    variables: Labels = field(default_factory=Labels)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All targets; looked up by name, by group and by the label `instance`."""

    targets: Mapping[str, Target] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets.values())

    def __len__(self) -> int:
        return len(self.targets)

    def get(self, name: str) -> Target | None:
        """Return the target of that name."""
        return self.targets.get(name)

    def group(self, name: str) -> tuple[Target, ...]:
        """Return the members of a group; `all` is every target."""
        return tuple(target for target in self if name == "all" or name in target.groups)

    def of_instance(self, instance: str) -> tuple[Target, ...]:
        """Return the targets that a series with this `instance` may belong to: none, one, or (a mistake) several."""
        return tuple(target for target in self if instance in target.instances)
