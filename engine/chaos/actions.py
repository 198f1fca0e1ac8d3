"""What can be injected: Chaos Mesh's actions as far as the lab has them, and ours where Chaos Mesh has no word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.config.errors import quoted


class Kind(StrEnum):
    """What a parameter may be."""

    TEXT = "text"
    WHOLE = "a whole number"
    FLAG = "true or false"
    PATH = "an absolute path"
    SIZE = "a size such as 400MB"
    UNIT = "the name of a unit"
    NAME = "a name"
    SPAN = "a duration such as 10s"
    PERCENT = "a percentage from 1 to 100"
    ADDRESS = "IPv4 addresses, separated by commas"


PATTERNS: Final[Mapping[Kind, str]] = {
    Kind.PATH: r"/[\w./*@:+-]*[\w*]",
    Kind.SIZE: r"[0-9]{1,6}(?:c|w|b|kB|K|KB|KiB|MB|M|MiB|GB|G|GiB|%)?",
    Kind.UNIT: r"[A-Za-z0-9:_.@\\-]+\.(?:service|timer|socket|mount)",
    Kind.NAME: r"[A-Za-z0-9_.-]+",
    Kind.SPAN: r"[0-9]{1,5}(?:ms|s|m|h)",
    Kind.PERCENT: r"(?:100|[1-9]?[0-9])(?:\.[0-9]+)?",
    Kind.ADDRESS: r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:,[0-9]{1,3}(?:\.[0-9]{1,3}){3})*",
}


@dataclass(frozen=True, slots=True)
class Knob:
    """One parameter of an action."""

    kind: Kind
    needed: bool = False

    def refusal(self, value: object) -> str | None:
        """Say why the value is none of its kind; None when it is."""
        match self.kind:
            case Kind.WHOLE:
                good = isinstance(value, int) and not isinstance(value, bool)
            case Kind.FLAG:
                good = isinstance(value, bool)
            case Kind.TEXT:
                good = isinstance(value, str) and "\0" not in value
            case Kind.PERCENT:
                good = isinstance(value, str) and bool(re.fullmatch(PATTERNS[Kind.PERCENT], value)) and float(value) > 0
            case kind:
                good = isinstance(value, str) and bool(re.fullmatch(PATTERNS[kind], value)) and ".." not in value
        return None if good else f"{quoted(str(value))} is not {self.kind}"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be injected; `spec` stands in the action's section, `more` in annotations `inject.mendbook.drill/…`.

    `tasks` names its pair of task files; None is what is done on the controller.
    """

    spec: Mapping[str, Knob]
    more: Mapping[str, Knob]
    tasks: str | None


TEXT, PATH, UNIT, NAME = Knob(Kind.TEXT), Knob(Kind.PATH), Knob(Kind.UNIT), Knob(Kind.NAME)
WHOLE, SIZE, SPAN = Knob(Kind.WHOLE), Knob(Kind.SIZE), Knob(Kind.SPAN)


def needed(knob: Knob) -> Knob:
    """Return the knob as one that must be there."""
    return Knob(knob.kind, needed=True)


CHAOS_MESH: Final[Mapping[str, Action]] = {
    "process": Action({"process": needed(NAME), "signal": WHOLE, "recoverCmd": TEXT}, {"unit": UNIT}, "process"),
    "stress-cpu": Action({"workers": WHOLE, "load": WHOLE}, {"unit": UNIT}, "stress_cpu"),
    "stress-mem": Action({"size": needed(SIZE)}, {"ramp": SPAN, "unit": UNIT}, "stress_mem"),
    "disk-fill": Action(
        {"path": needed(PATH), "size": needed(SIZE), "fill-by-fallocate": Knob(Kind.FLAG)}, {}, "disk_fill"
    ),
    "network-loss": Action({"percent": Knob(Kind.PERCENT, needed=True), "device": NAME}, {}, "network_loss"),
    "network-partition": Action({"ip-address": Knob(Kind.ADDRESS), "device": NAME}, {}, "network_partition"),
    "network-down": Action({"device": needed(NAME), "duration": needed(SPAN)}, {"every": SPAN}, "network_down"),
    "file-create": Action({"file-name": PATH, "dir-name": PATH}, {}, "file_create"),
    "file-modify": Action({"file-name": needed(PATH), "privilege": needed(WHOLE)}, {}, "file_modify"),
    "file-delete": Action({"file-name": PATH, "dir-name": PATH}, {}, "file_delete"),
    "file-rename": Action({"source-file": needed(PATH), "dest-file": needed(PATH)}, {}, "file_rename"),
    "file-append": Action({"file-name": needed(PATH), "data": needed(TEXT), "count": WHOLE}, {"restart": UNIT}, "file_append"),
    "file-replace": Action(
        {"file-name": needed(PATH), "origin-string": needed(TEXT), "dest-string": needed(TEXT)}, {"restart": UNIT}, "file_replace"
    ),
}  # fmt: skip
OWN: Final[Mapping[str, Action]] = {
    "power-off": Action({}, {"for-good": NAME}, None),
    "engine-kill": Action({}, {}, None),
    "traffic": Action({}, {"rate": needed(NAME)}, None),
    "directory-remove": Action({}, {"path": needed(PATH), "unit": UNIT}, "directory_remove"),
    "table-flip": Action({}, {"database": needed(NAME), "table": needed(NAME), "unit": needed(UNIT)}, "table_flip"),
    "table-drop": Action({}, {"database": needed(NAME), "table": needed(NAME)}, "table_drop"),
    "file-flip": Action({}, {"newest": needed(PATH)}, "file_flip"),
    "inodes-fill": Action({}, {"path": needed(PATH), "count": needed(NAME)}, "inodes_fill"),
    "deleted-hold": Action({}, {"path": needed(PATH), "size": needed(SIZE), "unit": UNIT}, "deleted_hold"),
    "remount-read-only": Action({}, {"path": needed(PATH)}, "remount"),
    "descriptors-exhaust": Action({}, {"limit": needed(NAME), "unit": UNIT}, "descriptors"),
    "zombies": Action({}, {"count": needed(NAME), "unit": UNIT}, "zombies"),
    "certificate-age": Action(
        {}, {"path": needed(PATH), "left": needed(SPAN), "reload": UNIT}, "certificate"
    ),
}  # fmt: skip
ELSEWHERE: Final = frozenset(
    [
        "disk-read-payload",
        "disk-write-payload",
        "network-corrupt",
        "network-duplicate",
        "network-delay",
        "network-dns",
        "network-bandwidth",
        "network-flood",
        "jvm-exception",
        "jvm-gc",
        "jvm-latency",
        "jvm-return",
        "jvm-stress",
        "jvm-rule-data",
        "jvm-mysql",
        "clock",
        "redis-expiration",
        "redis-penetration",
        "redis-cacheLimit",
        "redis-restart",
        "redis-stop",
        "kafka-fill",
        "kafka-flood",
        "kafka-io",
        "vm",
    ]
)
"""Chaos Mesh knows these; the lab has no way to do them."""
