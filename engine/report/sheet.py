"""A page for people: one file with its style and drawings, nothing to fetch, light and dark."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).parent / "sheet.css"
HOUR = 3600.0
FEW = 120.0
"""Longer times read better in minutes."""


def sheet(title: str, parts: Sequence[str]) -> str:
    """Return a whole page as HTML; the parts are HTML themselves."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text()}</style>\n<main>\n{''.join(parts)}\n</main>\n</html>\n"
    )


def tile(value: str, name: str, more: str, good: bool | None = None) -> str:
    """Return one number that stands out."""
    kind = "" if good is None else " ok" if good else " no"
    return f'<div class="tile{kind}"><b>{value}</b><span>{name}<br>{more}</span></div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Return a table; cells are HTML, and the columns `right` hold numbers. Where there is no room, cells stand below each other, each with its head."""

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = [' class="r"' if number in right else "" for number in range(len(row))]
        if tag == "td":
            kinds = [f'{kind} data-head="{escape(head)}"' for kind, head in zip(kinds, heads, strict=True)]
        return "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wrap cards"><table><thead><tr>{cells(heads, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def svg(width: float, height: float, name: str, inside: str, kind: str = "") -> str:
    """Return a drawing that is as wide as there is room, or as its class says."""
    styled = f' class="{kind}"' if kind else ""
    return f'<svg{styled} viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name)}">{inside}</svg>'


def span(seconds: float | None) -> str:
    """Return a span of time in few letters."""
    if seconds is None:
        return "-"
    if seconds >= HOUR:
        return f"{seconds / HOUR:.1f} h".replace(".0 ", " ")
    if seconds >= FEW:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004  two digits are enough


def counted(count: int, word: str) -> str:
    """Return `1 drill`, `2 drills`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def day(at: float) -> str:
    """Return a date."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def moment(at: float) -> str:
    """Return a date and a time."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
