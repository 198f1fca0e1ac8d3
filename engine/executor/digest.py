"""What a playbook is, as one number: it changes when the playbook or anything that it names changes.

Read statically: roles and files by their written names. A name that is only known when it runs (`{{ … }}`) stands for
all roles of the folder. What comes from collections counts by its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

_BESIDE = ("library", "module_utils", "action_plugins", "filter_plugins", "lookup_plugins", "test_plugins")
_VARIABLES = ("group_vars", "host_vars")
_ROLE = ("tasks", "handlers", "defaults", "vars", "meta", "files", "templates", *_BESIDE)
_LARGE = 64 << 20
_LONGEST = 8 << 20
_ROLE_TASKS = ("import_role", "include_role")
_FILE_TASKS = ("import_tasks", "include_tasks", "import_playbook", "include_vars")
_PREFIXES = ("", "ansible.builtin.", "ansible.legacy.")


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """Reads Ansible's YAML; its own tags (`!vault`, `!unsafe`) do not matter here.

    libyaml parses, which is quick; Python composes, because libyaml's own way dies of deep nesting instead of raising.
    """

    def __init__(self, stream: bytes) -> None:
        CParser.__init__(self, stream)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)


def _untagged(loader: SafeConstructor, _: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return loader.construct_scalar(node)
        case yaml.SequenceNode():
            return loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            return loader.construct_mapping(node, deep=True)
    return None


_Loader.add_multi_constructor("!", _untagged)


def digest(playbooks: Sequence[Path]) -> str:
    """Return a SHA-256 in hexadecimal over playbooks and what they name; raises OSError when a playbook cannot be read.

    It does not depend on where the folders lie, nor on the order of the playbooks.
    """
    parts: set[tuple[str, str]] = set()
    for playbook in playbooks:
        playbook.read_bytes()
        folder = playbook.parent
        for path in {playbook, *_references(playbook, folder, set()), *_surroundings(folder)}:
            parts.add((_relative(path, folder), _content(path)))
        parts.update(("name", name) for name in _names(playbook))
    whole = hashlib.sha256()
    for name, content in sorted(parts):
        whole.update(f"{len(name)}:{name}:{content}\n".encode())
    return whole.hexdigest()


def _content(path: Path) -> str:
    """Return a hash of what a file holds; of one that is very large, which anybody may name, its size and age instead."""
    try:
        about = path.stat()
        return (
            f"{about.st_size} {about.st_mtime_ns}"
            if about.st_size > _LARGE
            else hashlib.sha256(_bytes(path)).hexdigest()
        )
    except OSError as error:
        return f"unreadable {error.errno}"


def _bytes(path: Path) -> bytes:
    """Return what a file says it holds: one of the kernel's, which says nothing, may be read for ever."""
    size = path.stat().st_size
    if size == 0:
        return b""
    with path.open("rb") as file:
        return file.read(size)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


def _surroundings(folder: Path) -> Iterator[Path]:
    for name in (*_BESIDE, *_VARIABLES):
        yield from _below(folder / name)


def _read(path: Path) -> Any:
    try:
        return _Loader(_bytes(path)).get_single_data() if path.stat().st_size <= _LONGEST else None
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None  # what cannot be read, is endless or nested beyond all bounds names nothing; its bytes count all the same


def _mappings(content: Any) -> Iterator[Mapping[Any, Any]]:
    waiting = [content]
    seen: set[int] = set()  # what anchors repeat is looked at once: it may stand inside itself, or a million times
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        match one:
            case Mapping() as mapping:
                yield mapping
                waiting.extend(mapping.values())
            case list() as items:
                waiting.extend(items)


def _roles(content: Any) -> Iterator[str]:
    for mapping in _mappings(content):
        for key in ("roles", "dependencies"):
            for role in mapping.get(key) or () if isinstance(mapping.get(key), list) else ():
                yield str(role.get("role") or role.get("name") or "") if isinstance(role, Mapping) else str(role)
        for key in (prefix + task for prefix in _PREFIXES for task in _ROLE_TASKS):
            if isinstance(mapping.get(key), Mapping):
                yield str(mapping[key].get("name") or "")


def _files(content: Any) -> Iterator[str]:
    for mapping in _mappings(content):
        for key in (prefix + task for prefix in _PREFIXES for task in _FILE_TASKS):
            match mapping.get(key):
                case str() as name:
                    yield name
                case Mapping() as options:
                    yield str(options.get("file") or "")
        for key in ("vars_files", "src", "script"):
            match mapping.get(key):
                case str() as name:
                    yield name
                case list() as names:
                    yield from map(str, names)


def _names(playbook: Path) -> set[str]:
    return set(filter(None, _roles(_read(playbook))))


def _references(source: Path, folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files that a YAML file names, and those that these name."""
    content = _read(source)
    for name in filter(None, _roles(content)):
        roles = (
            (folder / "roles").iterdir() if "{{" in name and (folder / "roles").is_dir() else [folder / "roles" / name]
        )
        for role in roles:
            if role not in seen:
                seen.add(role)
                yield from _role(role, folder, seen)
    for name in filter(None, _files(content)):
        for base in (source.parent, folder, folder / "files", folder / "templates"):
            path = base / name
            if "{{" not in name and path.is_file() and path not in seen:
                seen.add(path)
                yield path
                yield from _references(path, folder, seen)


def _role(role: Path, folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield what makes up a role: of a path that anybody may write, such as `../../../../etc`, not the whole tree below it."""
    for path in (path for name in _ROLE for path in _below(role / name)):
        yield path
        if path.suffix in (".yml", ".yaml"):
            yield from _references(path, folder, seen)
