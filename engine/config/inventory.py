"""Hosts, from any inventory that Ansible reads: asked of Ansible itself, once, and kept until a file of it changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.errors import Problem, Severity
from engine.model.labels import Labels
from engine.model.runbook import Place, Value
from engine.model.target import Fleet, Target
from engine.model.veil import has_secrets

TIMEOUT = 60.0
PLUGIN_AGE = 300.0
"""Seconds that the answer of a plugin or a script counts for; plain files count until they change."""
MOST_FILES = 10_000
_SEALED = b"$ANSIBLE_VAULT"
_PLAIN_PATTERN = re.compile(r"[A-Za-z0-9_.-]+")
_ORIGIN = re.compile(r"^[^\n]+\nOrigin: [^\n]+:\d+:\d+$", re.MULTILINE)
_VAULT = ("__ansible_vault", "__ansible_unsafe")


class InventoryError(Exception):
    """Ansible could not read the inventory; the message is Ansible's own."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts with their variables, and what is odd about them."""

    paths: tuple[Path, ...]
    fleet: Fleet = field(default_factory=Fleet)
    hosts: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def resolve(self, pattern: str) -> tuple[str, ...]:
        """Return the hosts that an Ansible pattern names, in the inventory's order; none when it matches none.

        Raises InventoryError for a pattern that Ansible refuses.
        """
        pattern = pattern.strip()
        if not pattern or pattern.startswith(("-", "@")):
            return ()
        if self.fleet.get(pattern) is not None:
            return (pattern,)
        if _PLAIN_PATTERN.fullmatch(pattern):
            return tuple(target.name for target in self.fleet.group(pattern))
        listed = ask_ansible(self.paths, "--limit", pattern)
        chosen = set(listed["_meta"]["hostvars"])
        return tuple(target.name for target in self.fleet if target.name in chosen)


def load_inventory(paths: Sequence[Path], cache: Path | None = None) -> Inventory:
    """Return every host of the inventory. Raises InventoryError when Ansible cannot read it.

    What Ansible says is kept in `cache`, unless secrets are among it: they are to stand where people wrote them, and nowhere else.
    """
    paths = tuple(path.absolute() for path in paths)
    for path in paths:
        if not path.exists():
            raise InventoryError(f"{path}: there is no such inventory; `mendbook init` writes one")
    mark, plain = fingerprint(paths)
    kept = remembered(cache, mark, None if plain else PLUGIN_AGE)
    listed = kept if kept is not None else ask_ansible(paths)
    if kept is None and cache is not None and not any(map(is_sealed, files_of(paths))) and not has_secrets(listed):
        remember(cache, mark, listed)
    return read(paths, listed)


def ask_ansible(paths: Sequence[Path], *arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    """Return what `ansible-inventory --list` says; raises InventoryError with Ansible's own message."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "--list"]
    for path in paths:
        command += ["-i", str(path)]
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_VERBOSITY": "0",  # what it would say stands before the answer
        "ANSIBLE_DEBUG": "False",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    try:
        with tempfile.TemporaryDirectory(prefix="mendbook-") as private:  # Ansible would make itself one in the home
            done = subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                env={**environment, "ANSIBLE_LOCAL_TEMP": private},
                check=False,
            )
    except FileNotFoundError as error:
        raise InventoryError(f"{command[0]} is missing: install ansible-core beside mendbook") from error
    except subprocess.TimeoutExpired as error:
        raise InventoryError(f"ansible-inventory did not answer within {TIMEOUT:.0f}s") from error
    if done.returncode != 0:
        raise InventoryError(gist(done.stderr) or f"ansible-inventory ended with {done.returncode}")
    try:
        listed: dict[str, dict[str, dict[str, object]]] = json.loads(done.stdout)
    except ValueError as error:
        raise InventoryError("what ansible-inventory says is no JSON") from error
    return listed


def gist(said: str) -> str:
    """Return the first thing that Ansible found wrong at a line of a file, and where; without one, all that it said.

    It has every plugin try its hand at a file, and tells of each how it failed.
    """
    found = _ORIGIN.search(said)
    return found.group().removeprefix("[ERROR]: ") if found is not None else said.strip()


def read(paths: tuple[Path, ...], listed: Mapping[str, Mapping[str, object]]) -> Inventory:
    """Return the inventory that Ansible's answer describes."""
    groups = members(listed)
    raw = listed.get("_meta", {}).get("hostvars", {})
    hostvars: Mapping[str, Mapping[str, object]] = raw if isinstance(raw, Mapping) else {}
    names = list(dict.fromkeys(name for hosts in groups.values() for name in hosts))
    hosts = {name: {key: value(each) for key, each in hostvars.get(name, {}).items()} for name in names}
    targets = {
        name: Target(
            name=name,
            groups=frozenset(group for group, inside in groups.items() if name in inside and group != "all"),
            instances=instances(name, hosts[name]),
            depends_on=needed(name, listing(hosts[name].get("depends_on")), groups, hosts),
            variables=Labels(
                {key: text for key, each in hosts[name].items() if (text := plain_text(each)) is not None}
            ),
        )
        for name in names
    }
    return Inventory(paths, Fleet(targets), hosts, tuple(oddities(paths, targets)))


def members(listed: Mapping[str, Mapping[str, object]]) -> dict[str, tuple[str, ...]]:
    """Return the hosts of every group, those of its children too."""

    def inside(group: str, above: frozenset[str]) -> Iterator[str]:
        section = listed.get(group, {})
        yield from listing(section.get("hosts"))
        for child in listing(section.get("children")):
            if child not in above:
                yield from inside(child, above | {child})

    return {
        group: tuple(dict.fromkeys(inside(group, frozenset({group})))) for group in ("all", *listed) if group != "_meta"
    }


def needed(
    name: str, said: Iterable[str], groups: Mapping[str, tuple[str, ...]], hosts: Container[str]
) -> tuple[str, ...]:
    """Return the hosts that a host depends on: those it names, and those of the groups that it names, but itself."""
    found = [inside for each in said for inside in ((each,) if each in hosts else groups.get(each, (each,)))]
    return tuple(dict.fromkeys(each for each in found if each != name or each in said))


def instances(name: str, variables: Mapping[str, Value]) -> frozenset[str]:
    """Return the values of the label `instance` that mean this host."""
    known = {name, *listing(variables.get("mendbook_instance"))}
    address = variables.get("ansible_host")
    if isinstance(address, str):
        known.add(address)
    return frozenset(known)


def oddities(paths: tuple[Path, ...], targets: Mapping[str, Target]) -> Iterator[Problem]:
    """Yield a warning for each instance that means several hosts and each dependency that means none."""
    fleet = Fleet(targets)
    known = {instance for target in targets.values() for instance in target.instances}
    for target in targets.values():
        for needed in target.depends_on:
            if needed not in targets:
                yield problem(
                    paths, "unknown-host", f"{target.name} depends_on {needed!r}, which is not in the inventory"
                )
    for instance in sorted(known):
        names = sorted(target.name for target in fleet.of_instance(instance))
        if len(names) > 1:
            yield problem(
                paths,
                "ambiguous-instance",
                f"the instance {instance!r} means {', '.join(names)}: its alerts will be held",
            )


def problem(paths: tuple[Path, ...], code: str, message: str) -> Problem:
    """Return a warning about the inventory as a whole."""
    return Problem(code=code, message=message, place=Place(str(paths[0]), 1, 1), severity=Severity.WARNING)


def value(each: object) -> Value:
    """Return a variable as an immutable value; what is vaulted stays out."""
    if isinstance(each, Mapping):
        if any(mark in each for mark in _VAULT):
            return None
        return {str(key): value(inner) for key, inner in each.items()}
    if isinstance(each, list):
        return tuple(value(inner) for inner in each)
    return each if isinstance(each, str | int | float | bool) else None


def plain_text(each: Value) -> str | None:
    """Return text, a number or a boolean as text; None for anything else."""
    if isinstance(each, bool):
        return "true" if each else "false"
    return str(each) if isinstance(each, str | int | float) else None


def listing(each: object) -> tuple[str, ...]:
    """Return a list of names, from a list or from one name."""
    if isinstance(each, str):
        return (each,)
    return tuple(str(inner) for inner in each) if isinstance(each, list | tuple) else ()


def fingerprint(paths: Sequence[Path]) -> tuple[str, bool]:
    """Return what changes when any file of the inventory does, and whether all of them are plain files."""
    plain = True
    seen = []
    for path in sorted(files_of(paths)):
        status = path.stat()
        seen.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
        plain = plain and not os.access(path, os.X_OK) and not is_plugin(path)
    config = os.environ.get("ANSIBLE_CONFIG", "")
    return hashlib.sha256(repr((seen, config, sys.version)).encode()).hexdigest(), plain


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that Ansible would read: those given, those in folders given, and group_vars and host_vars beside."""
    places = [*paths]
    for path in paths:
        folder = path if path.is_dir() else path.parent
        places += [folder / "group_vars", folder / "host_vars"]
    found: set[Path] = set()
    for place in places:
        below = place.rglob("*") if place.is_dir() else [place]
        for path in below:
            if path.is_file() and path not in found and len(found) < MOST_FILES:
                found.add(path)
                yield path


def is_plugin(path: Path) -> bool:
    """Return whether the file configures an inventory plugin, whose answer may change by itself."""
    if path.suffix not in (".yml", ".yaml"):
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return re.search(rb"^plugin\s*:", head, re.MULTILINE) is not None


def is_sealed(path: Path) -> bool:
    """Return whether the file is encrypted as a whole: what Ansible makes of it must not lie about in the clear."""
    with path.open("rb") as file:
        return file.read(len(_SEALED)) == _SEALED


def remembered(cache: Path | None, mark: str, longest: float | None) -> dict[str, dict[str, dict[str, object]]] | None:
    """Return the answer kept for these files, unless it is too old or cannot be read."""
    if cache is None:
        return None
    try:
        kept = json.loads(cache.read_text())
        fresh = longest is None or 0 <= time.time() - float(kept["at"]) <= longest
        listed: dict[str, dict[str, dict[str, object]]] = kept["listed"]
        return listed if kept["mark"] == mark and fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(cache: Path, mark: str, listed: object) -> None:
    """Keep an answer, for nobody else to read. A full disk only costs the next start."""
    fresh = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"mark": mark, "at": time.time(), "listed": listed}, file)
        fresh.replace(cache)
    except OSError:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing was left either
            fresh.unlink(missing_ok=True)
