"""Who needs whom: what people declared, and what a balancer's and a database's own series say of it; and who is like whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from engine.core.rca.live import Owners
from engine.core.rca.signals import Topology
from engine.model.labels import METRIC_NAME, Labels
from engine.model.target import Fleet

BALANCER = "haproxy_server_"
REPLICATION = ("pg_stat_replication", "pg_replication", "mendbook_postgres_member_streaming")
"""What a primary says of those who follow it."""
RECEIVER = "pg_stat_wal_receiver"
"""What a replica says of the one that it follows."""
UPSTREAM = "upstream_host"
FOLLOWERS = ("application_name", "client_hostname", "client_addr", "slot_name", "member")
OTHERS = 2
"""With fewer others nobody is in the majority."""
WAITED_FOR = frozenset({"sync", "quorum"})
"""States of a replica that the primary waits for with every commit."""


def topology_of(series: Iterable[Labels], fleet: Fleet) -> Topology:
    """Return who calls whom, or needs whom, as far as it is known."""
    return Topology([*declared(fleet), *found(series, fleet)])


def peers_of(fleet: Fleet) -> Mapping[str, tuple[str, ...]]:
    """Return the others of the smallest group of each host that has two others at least: they are there for the same."""
    groups: dict[str, list[str]] = {}
    for target in fleet:
        for group in target.groups:
            groups.setdefault(group, []).append(target.name)
    found: dict[str, tuple[str, ...]] = {}
    for group in sorted(groups, key=lambda name: (len(groups[name]), name)):
        inside = groups[group]
        if OTHERS < len(inside) < len(fleet):  # one that holds every host says of none what it is for
            for name in inside:
                found.setdefault(name, tuple(other for other in inside if other != name))
    return found


def declared(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Yield what `depends_on` says."""
    for target in fleet:
        for needed in target.depends_on:
            yield target.name, needed


def found(series: Iterable[Labels], fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Yield what series say: a balancer needs the servers it names, a replica its primary, and a primary the replicas it waits for.

    A name that is no host's says nothing: it may be a pool, a program, a slot.
    """
    owners, seen = Owners(fleet), set()
    for labels in series:
        name = labels.get(METRIC_NAME, "")
        of_balancer, receives = name.startswith(BALANCER), name.startswith(RECEIVER)
        of_database = name.startswith(REPLICATION)
        here = owners.of(labels) if of_balancer or receives or of_database else None
        if here is None:
            continue
        keys = FOLLOWERS if of_database else (UPSTREAM,) if receives else ("server",)
        named = [labels[key] for key in keys if key in labels]
        there = next((host for each in named if (host := owners.named(each)) in fleet.targets), None)
        if there is None or there == here:
            continue
        waits = of_balancer or receives or labels.get("sync_state") in WAITED_FOR
        edge = (here, there) if waits else (there, here)
        if edge not in seen:
            seen.add(edge)
            yield edge
