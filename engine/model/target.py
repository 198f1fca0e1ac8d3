"""Targets: hosts as the inventory names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.model.instance import host_of, on_any_port
from engine.model.labels import Labels


@dataclass(frozen=True, slots=True)
class Target:
    """A host, named by its Ansible `inventory_hostname`.

    `instances` are the values of the label `instance` that mean this host; one without a port means it on whatever port,
    unless another one says the port of that address (`engine.model.instance`). `depends_on` names the hosts whose failure explains
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
    _owners: Mapping[str, Sequence[Target]] | None = field(default=None, init=False, repr=False, compare=False)
    _hosts: Mapping[str, Sequence[Target]] | None = field(default=None, init=False, repr=False, compare=False)

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
        owners, hosts = self._owners, self._hosts
        if owners is None or hosts is None:  # worked out once: every sample that trips a rule asks
            owners, hosts = self._index()
        found = owners.get(instance, ())
        others = hosts.get(host_of(instance) or "", ()) if ":" in instance else ()
        return tuple({target.name: target for target in (*found, *others)}.values()) if others else tuple(found)

    def _index(self) -> tuple[Mapping[str, Sequence[Target]], Mapping[str, Sequence[Target]]]:
        """Work out whose each instance is, and whose each is on whatever port."""
        owners: dict[str, list[Target]] = {}
        hosts: dict[str, list[Target]] = {}
        for target in self:
            for name in target.instances:
                owners.setdefault(name, []).append(target)
            for name in on_any_port(target.instances):
                hosts.setdefault(name, []).append(target)
        object.__setattr__(self, "_owners", owners)
        object.__setattr__(self, "_hosts", hosts)
        return owners, hosts
