"""What a step is given, checked: an exact host name, a playbook in its folder, a variable that Ansible will not template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_PATTERN = re.compile(r"[,:!&*?\[\]~{}'\"\\$|;<>()`\s\x00-\x1f\x7f]")
_GROUPS = frozenset({"all", "ungrouped"})


class Refused(ValueError):  # noqa: N818 - an answer, not a mishap
    """What was ordered is not run, and why, in a sentence for people."""


def limit(hosts: Sequence[str]) -> str:
    """Return the hosts as Ansible's `--limit`, each exactly itself; raises Refused."""
    if not hosts:
        raise Refused("no host is named, and none would mean all")
    for host in hosts:
        if not host or host in _GROUPS or host[0] in "-@" or (bad := _PATTERN.search(host)):
            why = "names a group" if host in _GROUPS else "is read by Ansible as a pattern or an option"
            if host and host not in _GROUPS and host[0] not in "-@" and bad:
                why = f"contains {bad[0]!r}, which Ansible may read as a pattern"
            raise Refused(f"host name {host!r} {why}; only exact inventory names are run on")
        if ".." in host.split("/"):  # Ansible makes paths of names: host_vars/NAME.yml
            raise Refused(f"host name {host!r} leads out of a folder; only exact inventory names are run on")
    return ",".join(dict.fromkeys(hosts))


def find_playbook(name: str, folders: Sequence[Path]) -> Path:
    """Return where a playbook is, links followed; raises Refused when it is missing or outside the folders."""
    if not name or name.startswith("-") or "\0" in name:
        raise Refused(f"playbook {name!r} is no file name")
    if ".." in Path(name).parts:
        raise Refused(f"playbook {name!r} leaves the playbook folders")
    outside = False
    for folder in folders:
        try:
            root = folder.resolve(strict=True)
            found = (root / name).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        if not found.is_relative_to(root):
            outside = True
        elif found.is_file():
            return found
    if outside:
        raise Refused(f"playbook {name!r} lies outside the playbook folders")
    searched = ", ".join(str(folder) for folder in folders) or "no folder"
    raise Refused(f"playbook {name!r} was not found (searched: {searched})")


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes, so that it is read as a text whatever it looks like."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - what yaml calls
        return True


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def unsafe_yaml(values: Mapping[str, Any]) -> str:
    """Return variables as YAML in which every text is kept as it is, never templated; raises Refused for a bad name.

    The whole of it is `!unsafe`, not each text: of a single one Ansible would make a number or nothing where it looks so, and a
    process may be called `yes`.
    """
    for name in values:
        if not name.isidentifier() or not name.isascii():
            raise Refused(f"variable {name!r} is no name that Ansible takes")
    text: str = yaml.dump(dict(values), Dumper=_Dumper, default_flow_style=True, width=2**31, allow_unicode=False)
    return f"--- !unsafe\n{text}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the supervisor gets it: checked, its playbook found."""

    number: int
    name: str
    playbook: Path
    limit: str
    hosts: tuple[str, ...]
    variables: str
    timeout: float
    always: bool
