"""How single things read in tables and sentences."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import ago, clean, moment

if TYPE_CHECKING:
    from engine.model.incident import Incident


def line(text: object) -> str:
    """Return text on one line, without anything that steers a terminal."""
    return clean(str(text).replace("\r", " ").replace("\n", " ").replace("\t", " "))


def age(at: float | None, now: float | None = None) -> str:
    """Return how long ago something was; "-" for never."""
    if at is None:
        return "-"
    return ago(max(0.0, (time.time() if now is None else now) - at))


def when(at: float | None) -> str:
    """Return a moment in few characters: the time of one that is today, else the date and the time; "-" for none."""
    if at is None:
        return "-"
    day, _, clock = moment(at).partition(" ")
    return clock if day == moment(time.time()).partition(" ")[0] else f"{day} {clock[:5]}"


def short(text: object, most: int = 90) -> str:
    """Return text on one line, cut where it is longer than a table has room for."""
    whole = line(text)
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def hanging(head: str, text: str) -> str:
    """Return text behind its head, on a terminal broken into lines that stand below one another; the head may be styled."""
    indent = len(click.unstyle(head))
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or width - indent < 30:  # noqa: PLR2004  less is no column
        return head + text
    lines = textwrap.wrap(text, width - indent) or [""]
    return head + ("\n" + " " * indent).join(lines)


def lasting(seconds: float | None) -> str:
    """Return a measured span of time, short ones with a decimal; "-" for none."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f}s" if seconds < 100 else ago(seconds)  # noqa: PLR2004  three digits are enough


def counted(count: int, word: str) -> str:
    """Return `1 error`, `2 errors`, `no errors`."""
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return a share in percent with what it is made of; "-" of nothing."""
    return f"{part / whole:.0%} ({part}/{whole})" if whole else "-"


def number(value: float) -> str:
    """Return a sample's value as people read it: six digits, and large ones in groups of three."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004  beyond, not every whole number is one
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))  # noqa: PLR2004  as in print
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.6g}"  # noqa: PLR2004  six digits


def because(incident: Incident) -> str:
    """Return why an incident is as it is; what holds it was said once, and its numbers are of that moment."""
    why = short(incident.reason or incident.code or "-")
    held = incident.state == "open" and incident.code and incident.changed_at
    return f"{why} (as of {when(incident.changed_at)})" if held else why


def pairs(labels: Mapping[str, str], *without: str) -> str:
    """Return labels as `name=value` separated by blanks."""
    return " ".join(f"{name}={line(value)}" for name, value in labels.items() if name not in without)


def unknown(kind: str, name: str, known: Collection[str]) -> Failure:
    """Return the failure for a name that is none, with the one that may have been meant."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    some = ", ".join(sorted(known)[:8])
    there = "there is only" if len(known) == 1 else "there are"
    hint = f"; did you mean '{close[0]}'?" if close else f"; {there} {some}" if some else ""
    more = ", …" if not close and len(known) > 8 else ""  # noqa: PLR2004  as many as a line holds
    return Failure(clean(f"there is no {kind} '{line(name)}'{hint}{more}"), Exit.USAGE)
