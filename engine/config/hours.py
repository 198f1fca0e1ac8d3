"""Times of the week as people write them: `Mon-Fri 09:00-17:00 Europe/Berlin`."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from engine.config.errors import did_you_mean, quoted
from engine.config.fields import kind, wrong
from engine.model.runbook import Hours

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60
EXAMPLE = "write it like Mon-Fri 09:00-17:00 Europe/Berlin"
_WORD = re.compile(r"\S+")
_SPAN = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")


def hours(value: object) -> Hours:
    """Return what a text says; raises pydantic's error, at the very word, for what says nothing.

    Without days it is every day. Where the end is not after the start it is on the next day; 24:00 is the end of a day.
    """
    if not isinstance(value, str):
        raise wrong("wrong-type", f"expected times of the week, not {kind(value)}", EXAMPLE)
    words = list(_WORD.finditer(value))
    place = next((number for number, word in enumerate(words) if word[0][0].isdigit()), None)
    if place is None or place > 1:
        raise wrong("wrong-value", f"{quoted(value)} says no times of day", EXAMPLE, width=max(1, len(value)))
    days = _days(words[0]) if place == 1 else frozenset(range(7))
    start, end = _span(words[place])
    if len(words) == place + 1:
        raise wrong("wrong-value", "whose time of day is it? a zone is missing", EXAMPLE, offset=len(value.rstrip()))
    if len(words) > place + 2:
        extra = words[place + 2]
        raise wrong(
            "wrong-value", f"{quoted(extra[0])} is too much", EXAMPLE, offset=extra.start(), width=len(extra[0])
        )
    return Hours(" ".join(value.split()), days, start, end, _zone(words[place + 1]))


def _days(word: re.Match[str]) -> frozenset[int]:
    """Return the days of `Mon`, `Mon-Fri`, `Sat,Sun` or `Fri-Mon`."""
    found: set[int] = set()
    offset = word.start()
    for part in word[0].split(","):
        first, dash, last = part.partition("-")
        begin = _day(first, offset)
        end = _day(last, offset + len(first) + 1) if dash else begin
        found.update((begin + number) % 7 for number in range((end - begin) % 7 + 1))
        offset += len(part) + 1
    return frozenset(found)


def _day(text: str, offset: int) -> int:
    name = text.lower()
    if name not in DAYS:
        short = name[:3] in DAYS
        fix = f"write {name[:3].title()}" if short else f"days are {', '.join(day.title() for day in DAYS)}"
        raise wrong("wrong-value", f"{quoted(text)} is no day", fix, offset=offset, width=max(1, len(text)))
    return DAYS.index(name)


def _span(word: re.Match[str]) -> tuple[int, int]:
    """Return start and end in minutes since midnight."""
    found = _SPAN.fullmatch(word[0])
    if found is None:
        message = f"{quoted(word[0])} are no times of day"
        raise wrong("wrong-value", message, "write it like 09:00-17:00", offset=word.start(), width=len(word[0]))
    begin, begin_minute, finish, finish_minute = map(int, found.groups())
    start, end = begin * 60 + begin_minute, finish * 60 + finish_minute
    for minutes, minute, group, latest in ((start, begin_minute, 1, DAY - 1), (end, finish_minute, 3, DAY)):
        if minute > 59 or minutes > latest:  # noqa: PLR2004  minutes of an hour
            text = f"{found[group]}:{found[group + 1]}"
            at = word.start() + found.start(group)
            raise wrong("wrong-value", f"{quoted(text)} is no time of day", offset=at, width=len(text))
    if start == end:
        fix = "a whole day is 00:00-24:00"
        raise wrong("wrong-value", f"{quoted(word[0])} is no time at all", fix, offset=word.start(), width=len(word[0]))
    return start, end


def _zone(word: re.Match[str]) -> str:
    name = word[0]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
        fix = did_you_mean(name, known) or (
            "such as Europe/Berlin or UTC" if known else "this machine knows no zones: install tzdata"
        )
        raise wrong(
            "wrong-value", f"{quoted(name)} is no time zone", fix, offset=word.start(), width=len(name)
        ) from None
    return name
