"""The house: a module imports only from lower floors, and packages on one floor do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parent.parent / "engine"

FLOORS = {
    "model": 0,
    "promql": 1,
    "templates": 2,
    "core": 2,
    "ports": 3,
    "config": 4,
    "sources": 4,
    "samples": 4,
    "records": 4,
    "executor": 4,
    "notify": 4,
    "controller": 5,
    "report": 5,
    "app": 6,
    "chaos": 7,
    "lab": 7,
    "cli": 8,
    "web": 8,
}
PURE = {"promql", "core"}
IMPURE = {
    "time",
    "random",
    "logging",
    "subprocess",
    "socket",
    "sqlite3",
    "sqlalchemy",
    "structlog",
    "threading",
    "asyncio",
}
ONE_DOOR = {
    "apprise": "notify",
    "ansible_runner": "executor",
    "jinja2": "templates",
    "sqlalchemy": "records",
    "alembic": "records",
}

MODULES = sorted(path for path in ENGINE.rglob("*.py") if "shipped" not in path.parts)


def room(path: Path) -> str:
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_a_module_imports_only_from_lower_floors(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} has no floor"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "engine" and len(parts) > 1 and parts[1] != here and parts[1] in FLOORS:
            assert FLOORS[parts[1]] < FLOORS[here], f"{path}: {here} may not import {name}"
        if here in PURE:
            assert parts[0] not in IMPURE, f"{path}: {here} is pure and may not import {name}"
        if parts[0] in ONE_DOOR:
            assert here == ONE_DOOR[parts[0]], f"{path}: only {ONE_DOOR[parts[0]]} imports {parts[0]}"


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "model"], ids=lambda path: path.name)
def test_nouns_need_the_standard_library_alone(path: Path) -> None:
    import sys

    for name in imports(path):
        top = name.split(".")[0]
        assert top == "engine" or top in sys.stdlib_module_names, f"{path}: {name}"
