"""Who needs whom: what people declared, and what a balancer's and a database's own series say of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.core.rca.live import Owners
from engine.core.rca.signals import Topology
from engine.model.labels import METRIC_NAME, Labels
from engine.model.target import Fleet

BALANCER = "haproxy_server_"
REPLICATION = ("pg_stat_replication", "pg_replication")
FOLLOWERS = ("application_name", "client_hostname", "client_addr", "slot_name", "member")
WAITED_FOR = frozenset({"sync", "quorum"})
"""States of a replica that the primary waits for with every commit."""


def topology_of(series: Iterable[Labels], fleet: Fleet) -> Topology:
    """Return who calls whom, or needs whom, as far as it is known."""
    return Topology([*declared(fleet), *found(series, fleet)])


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
        of_balancer, of_database = name.startswith(BALANCER), name.startswith(REPLICATION)
        here = owners.of(labels) if of_balancer or of_database else None
        if here is None:
            continue
        named = [labels["server"]] if of_balancer and "server" in labels else []
        if of_database:
            named = [labels[key] for key in FOLLOWERS if key in labels]
        there = next((host for each in named if (host := owners.named(each)) in fleet.targets), None)
        if there is None or there == here:
            continue
        waits = of_balancer or labels.get("sync_state") in WAITED_FOR
        edge = (here, there) if waits else (there, here)
        if edge not in seen:
            seen.add(edge)
            yield edge
