"""A quiet time: nothing is injected, traffic rises and falls, and the engine is to start nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.chaos import harm
from engine.chaos.drill import PATIENCE, QUIET, Bench
from engine.chaos.running import reading, story
from engine.chaos.scorecard import Quiet
from engine.chaos.steady import wait_steady
from engine.chaos.traffic import Tally

SHARES = (1.0, 3.0, 0.25, 2.0)
"""The rate in each quarter of an hour, or of the time that there is, as a multiple of the normal one."""
LONGEST_QUARTER = 900.0


def rates(rate: float) -> tuple[int, ...]:
    """Return the rates through which a quiet time goes, in transfers a second."""
    return tuple(max(1, round(rate * share)) for share in SHARES)


def quarter(seconds: float) -> float:
    """Return for how long each rate holds."""
    return min(LONGEST_QUARTER, seconds / len(SHARES))


def quiet(bench: Bench, seconds: float, version: str, commit: str) -> Quiet:
    """Let that time pass; return what the engine did in it. Raises DrillError when the lab is not steady at its beginning."""
    bench.engine.start()
    wait_steady(bench.unsteady, PATIENCE, QUIET, bench.pause, bench.say)
    then = harm.before(bench.place, bench.acknowledged)
    traffic = bench.traffic(int(time.time()))
    began, length = time.time(), quarter(seconds)
    if traffic is not None:
        traffic.start()
    try:
        told = -1
        while (passed := time.time() - began) < seconds:
            number = int(passed / length)
            if number != told:
                told, rate = number, turn(rates(bench.rate), number)
                bench.say(f"{passed / 60:.0f} of {seconds / 60:.0f} minutes; {rate} transfers a second")
                if traffic is not None:
                    traffic.rate = rate
            bench.pause(min(1.0, seconds))
    finally:
        if traffic is not None:
            traffic.stop()
    until = time.time()
    with reading(bench.place) as history:
        known = story(history, began)
    tally = traffic.tally if traffic is not None else Tally()
    cost = harm.harm(bench.place, bench.shell, bench.acknowledged, then, tally, (began, until), ())
    return Quiet(
        version=version,
        commit=commit,
        at=began,
        seconds=round(until - began, 1),
        started=tuple(f"{each.runbook} on {each.target}" for each in known.executions),
        incidents=tuple(f"{each.resource} of {each.target}: {each.state}" for each in known.incidents),
        requests=cost.requests,
        failed=cost.failed,
        rates=rates(bench.rate),
        lost=cost.lost,
        wrong_total=cost.wrong_total,
    )


def turn(rates: Sequence[int], number: int) -> int:
    """Return the rate of a quarter; they begin again at the end."""
    return rates[number % len(rates)]
