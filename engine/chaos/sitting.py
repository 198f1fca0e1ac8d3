"""A sitting: what an earlier one left is undone, then drills run one after the other, each written down at once."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.chaos.choose import hits, order
from engine.chaos.drill import Bench, Drill
from engine.chaos.experiment import Experiment
from engine.chaos.inject import Injector
from engine.chaos.journal import Journal
from engine.chaos.place import Place
from engine.chaos.probes import Shell
from engine.chaos.result import Result
from engine.chaos.running import Engine
from engine.chaos.scorecard import CARD, append, heal
from engine.chaos.steady import roles_of

JOURNAL, PAGE, RECORDS = "journal", "report.html", "records"


@contextmanager
def sitting(place: Place, folder: Path, say: Callable[[str], None], *, rate: float = 20.0) -> Iterator[Bench]:
    """Give what drills work with, alone, after whatever an earlier drill left in the lab was undone.

    Ctrl-C and SIGTERM end the drill that runs, whose undo runs to its end. Raises DrillError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal = Journal(folder / JOURNAL)
    with journal.alone(), tempfile.TemporaryDirectory(prefix="mb-") as scratch:
        injector = Injector(journal, Path(scratch), say)
        engine = Engine(place, folder / "engine.log")
        shell = Shell(Path(scratch))
        bench = Bench(place, engine, injector, shell, folder, say, rate)
        undone = injector.undo_all()
        if undone:
            say(f"what an earlier drill left was undone: {undone}")
        with interruptible(bench.stop):
            yield bench


@contextmanager
def interruptible(stop: threading.Event) -> Iterator[None]:
    """Have the first Ctrl-C set `stop`, so that an undo is never broken off by it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drills(
    bench: Bench, turns: Sequence[tuple[Experiment, int]], seed: int, *, afresh: bool, done: Callable[[Result], None]
) -> list[Result]:
    """Run these repeats in an order that the seed chooses; each is in the scorecard before the next one begins. Raises DrillError."""
    results: list[Result] = []
    card = bench.folder / CARD
    heal(card)
    surroundings = surroundings_of(bench.place)
    if afresh and turns and bench.place.settings.record.exists():
        bench.say(f"the engine's record is kept in {bench.folder / RECORDS}: each drill begins with one of its own")
    for number, (experiment, repeat) in enumerate(order(turns, seed), 1):
        bench.say(f"[{number}/{len(turns)}] {experiment.name}, repeat {repeat}: {experiment.summary}")
        if afresh:
            bench.engine.afresh(bench.folder / RECORDS / time.strftime("%Y%m%dT%H%M%S"))
        bench.engine.start()
        roles = roles_of(bench.place, bench.shell)
        chosen = hits(experiment, repeat, bench.place, roles, seed)
        drill = Drill(bench, experiment, chosen, repeat, seed, version(), commit())
        result = drill.run()
        result = replace(result, surroundings={**surroundings, "load": f"{os.getloadavg()[0]:.1f}"})
        append(card, result)
        results.append(result)
        done(result)
    return results


def version() -> str:
    """Return the version of what is proved."""
    return importlib.metadata.version("mendbook")


def commit() -> str:
    """Return the commit of a checkout; "" for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def surroundings_of(place: Place) -> dict[str, str]:
    """Return where drills run: what another machine may do better or worse."""
    return {
        "ansible": importlib.metadata.version("ansible-core"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count() or 0),
        "nodes": str(len(place.nodes)),
        "interval": f"{place.settings.interval:g}s",
    }
