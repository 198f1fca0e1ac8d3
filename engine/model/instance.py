"""The label `instance`: a host's name or address, with or without the port that it exports on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

PORT_DIGITS: Final = 5


def host_of(instance: str) -> str | None:
    """Return the host of `host:port` or `[address]:port`; None where there is no port.

    An IPv6 address without brackets has none: its last colon separates nothing.
    """
    host, colon, port = instance.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or len(port) > PORT_DIGITS:
        return None
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1] or None
    return None if ":" in host else host or None


@lru_cache(maxsize=16_384)
def on_any_port(instances: frozenset[str]) -> frozenset[str]:
    """Return those of a host's instances that mean it on whatever port.

    An instance without a port does, unless another one of the same host says the port: then others on that address,
    behind one gateway, are other hosts.
    """
    told = {host_of(instance) for instance in instances}
    return frozenset(instance for instance in instances if instance not in told and host_of(instance) is None)


def with_port(instances: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Return, by host, those instances that name a port."""
    found: dict[str, list[str]] = {}
    for instance in instances:
        if ":" in instance and (host := host_of(instance)) is not None:
            found.setdefault(host, []).append(instance)
    return found


@lru_cache(maxsize=64)
def with_port_kept(instances: frozenset[str]) -> Mapping[str, Sequence[str]]:
    """Return what `with_port` does; which instances there are rarely changes, and every target asks."""
    return with_port(instances)
