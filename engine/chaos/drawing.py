"""Timelines as SVG: what was injected, what people outside saw, what the engine did, second by second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from engine.chaos.result import Mark, Result
from engine.report.sheet import svg

WIDTH, GUTTER, RIGHT = 1000, 86, 16
TRAFFIC, LANE, ROW = 52, 26, 15
LETTER = 6.1
"""The width of a letter of a label, about."""
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)
SHAPES = {"alert": "M-5,4 L0,-5 L5,4 Z", "incident": "M-5,0 L0,-5 L5,0 L0,5 Z", "verified": "M-5,0 L-1.5,4 L5,-4"}


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds to places from left to right."""

    begin: float
    end: float
    width: float = WIDTH

    def x(self, at: float) -> float:
        """Return the place of a moment; what is outside stands at the edge."""
        share = (min(max(at, self.begin), self.end) - self.begin) / (self.end - self.begin)
        return round(GUTTER + share * (self.width - GUTTER - RIGHT), 1)

    def ticks(self) -> list[int]:
        """Return round seconds, eight or so."""
        step = next((step for step in STEPS if (self.end - self.begin) / step <= 9), STEPS[-1])  # noqa: PLR2004  as many as can be read
        first = int(-(-self.begin // step)) * step
        return list(range(first, int(self.end) + 1, step))


def scale_of(results: Iterable[Result], width: float = WIDTH) -> Scale:
    """Return a scale that holds these drills, from shortly before the injection."""
    ends = [mark.until or mark.at for result in results for mark in result.timeline if mark.kind != "operator"]
    end = max([20.0, *ends])
    return Scale(-0.03 * end - 2, end * 1.02 + 1, width)


def large(result: Result, scale: Scale) -> str:
    """Return the timeline of one drill with every lane and its words."""
    labels = place_labels(worded(result), scale)
    above = 18 + ROW * (1 + max((row for _, row, _ in labels), default=0))
    runs = [mark for mark in result.timeline if mark.kind == "run"]
    lanes = lane_runs(runs, scale)
    top_engine = TRAFFIC + 14 + LANE + above
    top_runs = top_engine + 18
    bottom = top_runs + LANE * max(1, max((lane + 1 for _, lane in lanes), default=1)) + 4
    height = bottom + 24
    parts = [axis(scale, bottom, height), traffic(result, scale), outside(result, scale, TRAFFIC + 12)]
    parts += [
        lane_name(text, y) for text, y in (("requests", 30), ("from outside", TRAFFIC + 26), ("engine", top_engine + 4))
    ]
    parts += [lane_name("playbooks", top_runs + 17), engine(result, scale, labels, top_engine)]
    parts += [run_bar(mark, scale, top_runs + LANE * lane) for mark, lane in lanes]
    if not lanes:
        parts.append(f'<text class="none" x="{scale.x(0) + 8}" y="{top_runs + 17}">nothing was touched</text>')
    parts += edges(result, scale, bottom)
    return svg(WIDTH, height, f"{result.experiment}, repeat {result.repeat}", "".join(parts))


def small(result: Result, scale: Scale) -> str:
    """Return the timeline of one drill as a single line: ill and well, the engine's marks, its runs."""
    y = 5
    parts = [outside(result, scale, y, height=12)]
    for mark in result.timeline:
        if mark.kind == "run":
            left, right = scale.x(mark.at), scale.x(mark.until if mark.until is not None else scale.end)
            parts.append(
                f'<rect class="run" x="{left}" y="{y + 14}" width="{max(2, right - left):.1f}" height="5" rx="2">{title(mark)}</rect>'
            )
    seen: set[str] = set()
    for mark in result.timeline:
        if (
            mark.kind in ("alert", "incident", "verified")
            and mark.kind not in seen
            and (mark.kind != "alert" or not mark.good)
        ):
            if mark.kind == "verified" and not mark.good:
                continue
            seen.add(mark.kind)
            parts.append(shape(mark, scale.x(mark.at), y + 6))
    parts.append(f'<line class="zero" x1="{scale.x(0)}" x2="{scale.x(0)}" y1="0" y2="26"/>')
    name = f"#{result.repeat} {', '.join(dict.fromkeys(each.node for each in result.found))}"
    parts.append(f'<text class="lane" x="{GUTTER - 10}" y="{y + 10}">{escape(name)}</text>')
    return svg(WIDTH, 27, name, "".join(parts))


def ruler(scale: Scale) -> str:
    """Return the scale by itself, to stand below lines that share it."""
    parts = [f'<text class="tick" x="{scale.x(at)}" y="12">{seconds(at)}</text>' for at in scale.ticks()]
    return svg(WIDTH, 16, "seconds", "".join(parts))


def seconds(at: float) -> str:
    """Return a moment as people write it: 45s, 2:30."""
    return f"{at:g}s" if abs(at) < 120 else f"{int(at) // 60}:{int(at) % 60:02}"  # noqa: PLR2004  minutes read better from two on


def title(mark: Mark) -> str:
    """Return what is said when one points at it."""
    host = f"{mark.host}: " if mark.host else ""
    return f"<title>{escape(f'{mark.at:.1f}s {mark.kind} {host}{mark.text}')}</title>"


def axis(scale: Scale, bottom: float, height: float) -> str:
    """Return the lines of time and their seconds."""
    lines = [f'<line class="grid" x1="{scale.x(at)}" x2="{scale.x(at)}" y1="8" y2="{bottom}"/>' for at in scale.ticks()]
    texts = [f'<text class="tick" x="{scale.x(at)}" y="{height - 6}">{seconds(at)}</text>' for at in scale.ticks()]
    return "".join(lines + texts)


def lane_name(text: str, y: float) -> str:
    """Return the name of a lane."""
    return f'<text class="lane" x="{GUTTER - 10}" y="{y}">{text}</text>'


def traffic(result: Result, scale: Scale) -> str:
    """Return a bar for each second: requests that were answered, and on top of them those that failed."""
    most = max((good + bad for _, good, bad in result.traffic), default=0)
    if not most:
        return f'<text class="none" x="{scale.x(0) + 8}" y="34">no traffic in this drill</text>'
    width = max(0.8, scale.x(1) - scale.x(0) - 0.4)
    parts = []
    for moment, good, bad in result.traffic:
        if not scale.begin <= moment <= scale.end or not good + bad:
            continue
        tall, failed = 40 * good / most, 40 * bad / most
        x = scale.x(moment)
        told = f"<title>{seconds(round(moment))}: {good} answered, {bad} failed</title>"
        parts.append(
            f'<rect class="good" x="{x}" y="{50 - tall:.1f}" width="{width:.1f}" height="{tall:.1f}">{told}</rect>'
        )
        if bad:
            y = 50 - tall - failed
            parts.append(
                f'<rect class="bad" x="{x}" y="{y:.1f}" width="{width:.1f}" height="{failed:.1f}">{told}</rect>'
            )
    return "".join(parts)


def outside(result: Result, scale: Scale, y: float, height: float = 18) -> str:
    """Return a band of how it was, seen from outside: well, ill, well again."""
    marks = [mark for mark in result.timeline if mark.kind == "outside"]
    end = max((mark.at for mark in result.timeline if mark.kind == "undo"), default=scale.end)
    parts = [band(scale, scale.begin, end, y, height, "well")]
    hosts = list(dict.fromkeys(mark.host for mark in marks))
    for number, host in enumerate(hosts):
        tall = height / len(hosts)
        own = [mark for mark in marks if mark.host == host]
        for mark, after in zip(own, [*own[1:], None], strict=True):
            if not mark.good:
                until = after.at if after is not None else end
                parts.append(band(scale, mark.at, until, y + number * tall, tall, "ill"))
                wide = scale.x(until) - scale.x(mark.at)
                text = f"ill for {until - mark.at:.0f}s"
                if wide > len(text) * LETTER + 12 and tall > 13:  # noqa: PLR2004  room for letters
                    parts.append(
                        f'<text class="inside" x="{scale.x(mark.at) + 8}" y="{y + number * tall + tall / 2 + 4:.1f}">{text}</text>'
                    )
    return "".join(parts)


def band(scale: Scale, begin: float, end: float, y: float, height: float, kind: str) -> str:
    """Return one piece of the band."""
    left, right = scale.x(begin), scale.x(end)
    return (
        f'<rect class="{kind}" x="{left}" y="{y:.1f}" width="{max(1, right - left):.1f}" height="{height:.1f}" rx="3"/>'
    )


def worded(result: Result) -> list[tuple[Mark, str]]:
    """Return what the engine's lane says, in few words each: the first of each kind on each host, and every end."""
    said: list[tuple[Mark, str]] = []
    known: set[tuple[str, str]] = set()
    for mark in result.timeline:
        words = label(mark)
        if words and (mark.kind, f"{mark.host} {words}") not in known:
            known.add((mark.kind, f"{mark.host} {words}"))
            said.append((mark, words))
    return said[:14]


def label(mark: Mark) -> str:
    """Return a mark in few words; "" for one that has none."""
    match mark.kind:
        case "alert" if not mark.good:
            return f"{mark.text.partition(' on ')[0]} fires ({mark.host})"
        case "incident":
            return f"incident: {mark.host}"
        case "decision" if mark.good is True:
            return "decides to act"
        case "decision" if mark.good is False:
            return "calls a person"
        case "verified" if mark.good:
            return f"verified ({mark.host})"
        case "verified":
            return f"not verified ({mark.host})"
        case "operator":
            return "operator"
    return ""


def place_labels(said: Sequence[tuple[Mark, str]], scale: Scale) -> list[tuple[Mark, int, str]]:
    """Return each label with the row in which it does not run into another.

    From the last to the first, so that the thread of an early one goes down left of all that stand below it.
    """
    begins: list[float] = []
    placed = []
    for mark, words in reversed(said):
        x = scale.x(mark.at)
        end = x + len(words) * LETTER + 10
        row = next((number for number, begin in enumerate(begins) if end < begin), len(begins))
        if row == len(begins):
            begins.append(0.0)
        begins[row] = x
        placed.append((mark, row, words))
    return placed[::-1]


def engine(result: Result, scale: Scale, labels: Sequence[tuple[Mark, int, str]], y: float) -> str:
    """Return the engine's lane: a line, marks on it, and words above with a thread down to their mark."""
    parts = [f'<line class="base" x1="{GUTTER}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>']
    parts += [
        f'<circle class="hold" cx="{scale.x(mark.at)}" cy="{y}" r="3">{title(mark)}</circle>'
        for mark in result.timeline
        if mark.kind == "decision" and mark.good is None
    ]
    for mark, row, words in labels:
        x, top = scale.x(mark.at), y - 14 - ROW * row
        flipped = x + len(words) * LETTER > WIDTH - RIGHT
        anchor, dx = ("end", -5) if flipped else ("start", 5)
        parts.append(f'<line class="thread" x1="{x}" x2="{x}" y1="{y - 5}" y2="{top - 9:.1f}"/>')
        parts.append(
            f'<text class="label" text-anchor="{anchor}" x="{x + dx}" y="{top}">{escape(words)}{title(mark)}</text>'
        )
    for mark, _, _ in labels:
        parts.append(shape(mark, scale.x(mark.at), y))
    return "".join(parts)


def shape(mark: Mark, x: float, y: float) -> str:
    """Return the sign of a mark."""
    kind = mark.kind + ("" if mark.good is not False or mark.kind == "alert" else " bad")
    if mark.kind in SHAPES:
        return f'<path class="mark {kind}" transform="translate({x},{y})" d="{SHAPES[mark.kind]}">{title(mark)}</path>'
    return f'<circle class="mark {kind}" cx="{x}" cy="{y}" r="4">{title(mark)}</circle>'


def lane_runs(runs: Sequence[Mark], scale: Scale) -> list[tuple[Mark, int]]:
    """Return each run with the lane in which it overlaps no other, its words included."""
    ends: list[float] = []
    placed = []
    for mark in runs:
        x = scale.x(mark.at)
        lane = next((number for number, end in enumerate(ends) if x >= end), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        right = scale.x(mark.until if mark.until is not None else scale.end)
        ends[lane] = max(right, x + (len(mark.text) + len(mark.host) + 2) * LETTER * 0.9) + 8
        placed.append((mark, lane))
    return placed


def run_bar(mark: Mark, scale: Scale, y: float) -> str:
    """Return a run as a bar with its playbooks written on or behind it."""
    left = scale.x(mark.at)
    right = scale.x(mark.until if mark.until is not None else scale.end)
    text = f"{mark.host}: {mark.text}"
    wide = len(text) * LETTER * 0.92
    at, anchor, style = (left + 7, "start", "inside") if right - left > wide + 10 else (right + 6, "start", "label")
    if style == "label" and at + wide > WIDTH:
        at, anchor = left - 6, "end"
    good = "" if mark.good else " failed"
    bar = f'<rect class="run{good}" x="{left}" y="{y}" width="{max(3, right - left):.1f}" height="20" rx="4">{title(mark)}</rect>'
    return f'{bar}<text class="{style}" text-anchor="{anchor}" x="{at:.1f}" y="{y + 14}">{escape(text)}</text>'


def edges(result: Result, scale: Scale, bottom: float) -> list[str]:
    """Return the lines at which something was injected and undone."""
    parts = []
    for mark in result.timeline:
        if mark.kind in ("injection", "undo"):
            x = scale.x(mark.at)
            kind = "zero" if mark.kind == "injection" else "end"
            parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="4" y2="{bottom}">{title(mark)}</line>')
    return parts
