"""The scorecard: a JSON line per drill, written at once, by which drills go on where they stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.chaos.experiment import Experiment
from engine.chaos.place import DrillError
from engine.chaos.result import Result, as_mapping, from_mapping

SHIPPED = Path(__file__).parent / "scorecards"
DRILLS, CARD = ".mendbook-drills", "scorecard.jsonl"
"""Where drills write, below the folder in which they are called, and the scorecard there."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time in which nothing was injected; `started` are the remedies that the engine started nevertheless."""

    version: str
    commit: str
    at: float
    seconds: float
    started: tuple[str, ...]
    incidents: tuple[str, ...]
    requests: int
    failed: int
    rates: tuple[int, ...]
    lost: int | None = None
    wrong_total: bool | None = None

    @property
    def passed(self) -> bool:
        """Return whether nothing was started, and nothing lost."""
        return not self.started and not self.lost and not self.wrong_total


@dataclass(frozen=True, slots=True)
class Card:
    """What a scorecard holds."""

    results: tuple[Result, ...] = ()
    quiets: tuple[Quiet, ...] = ()


def append(path: Path, line: Result | Quiet) -> None:
    """Add a line, on disk when this returns."""
    kind = "drill" if isinstance(line, Result) else "quiet"
    body = as_mapping(line) if isinstance(line, Result) else {**fields(line), "passed": line.passed}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"kind": kind, **body}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def fields(quiet: Quiet) -> dict[str, object]:
    """Return a quiet time as the scorecard has it."""
    return {name: getattr(quiet, name) for name in Quiet.__dataclass_fields__}


def read(paths: Iterable[Path]) -> Card:
    """Return what scorecards hold, the oldest first; a last line that a crash cut short is left out. Raises DrillError."""
    results: list[Result] = []
    quiets: list[Quiet] = []
    for path in paths:
        try:
            lines = path.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            continue
        for number, line in enumerate(lines, 1):
            try:
                raw = json.loads(line)
                kind = raw.pop("kind")
                if kind == "drill":
                    results.append(from_mapping(raw))
                else:
                    raw.pop("passed", None)
                    lists = {name: tuple(raw[name]) for name in ("started", "incidents", "rates")}
                    quiets.append(Quiet(**{**raw, **lists}))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if number == len(lines) and not line.endswith("\n"):
                    continue
                raise DrillError(f"{path}:{number}: this is no line of a scorecard ({error})") from error
    return Card(tuple(sorted(results, key=lambda each: each.at)), tuple(sorted(quiets, key=lambda each: each.at)))


def known(root: Path) -> Card:
    """Return what the scorecards say that come with the product, and the one of drills in this folder or beside it. Raises DrillError."""
    own = [folder / DRILLS / CARD for folder in (root, root.parent)]
    return read([*sorted(SHIPPED.glob("*.jsonl")), *own])


def left(
    experiments: Sequence[Experiment], repeats: int, done: Sequence[Result], version: str
) -> list[tuple[Experiment, int]]:
    """Return which repeats of which experiments are still to be run: those of this version, of this text, are done.

    A drill counts whether it passed or not: what failed is to be looked at, and is run again with `--fresh`.
    """
    turns = []
    for experiment in experiments:
        ran = {
            each.repeat
            for each in done
            if (each.experiment, each.digest, each.version) == (experiment.name, experiment.digest, version)
        }
        turns += [(experiment, number) for number in range(1, repeats + 1) if number not in ran]
    return turns


def heal(path: Path) -> None:
    """Cut off a last line that a crash left unfinished, so that the next one begins on a line of its own."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    if raw and not raw.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(raw.rfind(b"\n") + 1)
