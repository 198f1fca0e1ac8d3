"""Experiments by their names: those that come with the product, and files of one's own."""

from __future__ import annotations

from pathlib import Path

from engine.chaos.experiment import Experiment
from engine.chaos.manifest import read_experiment
from engine.chaos.place import DrillError
from engine.config.errors import did_you_mean

FOLDER = Path(__file__).parent / "experiments"


def names() -> tuple[str, ...]:
    """Return the names of the experiments that come with the product."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml")))


def find(word: str) -> Experiment:
    """Return the experiment of that name, or in that file. Raises DrillError and ConfigError."""
    if "/" in word or word.endswith((".yml", ".yaml")):
        return read_experiment(Path(word))
    if word not in names():
        hint = did_you_mean(word, names()) or f"there are {', '.join(names())}"
        raise DrillError(f"there is no experiment '{word}'; {hint}")
    return read_experiment(FOLDER / f"{word}.yml")


def shelf() -> tuple[Experiment, ...]:
    """Return every experiment that comes with the product. Raises ConfigError."""
    return tuple(find(name) for name in names())
