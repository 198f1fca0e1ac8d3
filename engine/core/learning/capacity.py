"""What may run out, as expressions over series that exporters write: what is left of it, by host and thing."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0
REAL = 'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660|fuse.*|nsfs|autofs"'
COUNTED = 'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660|fuse.*|nsfs|autofs|vfat|btrfs"'


@dataclass(frozen=True, slots=True)
class Capacity:
    """One kind of thing that may run out: `expr` says what is left, `history` is for how long it is looked back on, in seconds."""

    resource: str
    expr: str
    history: float
    of: str = ""
    """What it belongs to, where there are several of one resource."""


CAPACITIES = (
    Capacity("disk", f"min by (instance, mountpoint) (node_filesystem_avail_bytes{{{REAL}}})", 48 * HOUR),
    Capacity("inodes", f"min by (instance, mountpoint) (node_filesystem_files_free{{{COUNTED}}})", 48 * HOUR),
    Capacity("memory", "min by (instance) (node_memory_MemAvailable_bytes)", 12 * HOUR),
    Capacity(
        "connections",
        "max by (instance) (pg_settings_max_connections) - sum by (instance) (pg_stat_database_numbackends)",
        12 * HOUR,
        "postgresql",
    ),
    Capacity(
        "connections",
        "min by (instance, proxy) (haproxy_frontend_limit_sessions - haproxy_frontend_current_sessions)",
        12 * HOUR,
        "haproxy",
    ),
    Capacity(
        "connections",
        "min by (instance) (node_nf_conntrack_entries_limit - node_nf_conntrack_entries)",
        12 * HOUR,
        "conntrack",
    ),
    Capacity(
        "certificate", "min by (instance, path, service) (mendbook_certificate_not_after_seconds) - time()", 48 * HOUR
    ),
)
WATCHED = 'group by (instance) ({__name__=~"up|probe_success"})'
"""Whoever is looked at, well or not."""
