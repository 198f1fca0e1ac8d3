"""The language of Prometheus's own test files: load samples, evaluate, compare."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from promql_memory import Memory, admits

from engine.model.labels import Labels
from engine.promql import (
    STALE,
    EvaluationError,
    Matrix,
    ParseError,
    Scalar,
    Text,
    Vector,
    evaluate,
    evaluate_range,
    parse,
    selectors,
    unsupported,
)
from engine.promql.lexer import tokenize
from engine.promql.literals import read_duration, read_number, read_string
from engine.promql.parser import Parser

TOLERANCE = 1e-6
SMALLEST_NORMAL = 2.2250738585072014e-308
INSTANT = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)")
RANGE = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)")
COURSE = re.compile(r"vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")
LOAD = re.compile(r"load(_with_nhcb)?\s+(\S+)")
COMMAND = re.compile(r"(load|eval|clear)")
NUMBER = r"(?:0x[0-9a-f]+(?!x)|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)"
REPEATED = re.compile(rf"([+-]?{NUMBER})(?:([+-])({NUMBER}))?x(\d+)", re.IGNORECASE)
LABELS_FOLLOW = re.compile(r"(?<!\})[ \t]+\{(?!\{)")
MOST_DIGITS = 6
"""A series of a million points is none of a test's."""
IGNORED = frozenset({"warn", "no_warn", "info", "no_info"})
NATIVE = "native histograms"
INFO = "info()"
STARTS = "start timestamps"


@dataclass
class Command:
    line: int
    head: str
    body: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What became of one case: `passed`, `failed` with why, or `skipped` with the reason."""

    line: int
    query: str
    outcome: str
    why: str = ""


def commands(text: str) -> Iterator[Command]:
    current: Command | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            if not bare and current is not None:
                yield current
                current = None
            continue
        if current is None or COMMAND.match(line):  # a command begins a paragraph, or a line
            if current is not None:
                yield current
            current = Command(number, bare)
        else:
            current.body.append(bare)
    if current is not None:
        yield current


def read_labels(text: str) -> Labels:
    """Read a series as a file names it, an empty one too."""
    parser = Parser(text, tokenize(text))
    name = None if parser.sees("{") else parser.take().text
    return Labels((matcher.name, matcher.value) for matcher in parser.selector(name, 0).matchers)


def split_series(line: str) -> tuple[str, str]:
    """Cut a line into the series and its values."""
    quoted = ""
    escaped = False
    depth = 0
    for place, letter in enumerate(line):
        if escaped:
            escaped = False
        elif quoted:
            escaped = letter == "\\" and quoted != "`"
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'`":
            quoted = letter
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
        elif letter in " \t" and depth == 0 and not LABELS_FOLLOW.match(line, place):
            return line[:place], line[place:].strip()
    return line, ""


def read_values(text: str) -> list[float | None]:
    values: list[float | None] = []
    for item in text.split():
        found = REPEATED.fullmatch(item)
        if item.startswith("_"):
            values += [None] * (read_count(item[2:]) if item.startswith("_x") else 1)
        elif item.startswith("stale"):
            values += [STALE] * (read_count(item.removeprefix("stalex")) + 1 if "x" in item else 1)
        elif found is not None:  # 0x59 is sixty zeros, not a hexadecimal number
            first, sign, step, count = found.groups()
            change = read_signed(sign + step) if step else 0.0
            values += [
                read_signed(first) + change * place if change else read_signed(first)
                for place in range(read_count(count) + 1)
            ]
        else:
            values.append(read_signed(item))
    return values


def read_count(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{text} points are too many")
    return int(text)


def read_signed(text: str) -> float:
    value = read_number(text.lstrip("+-"))
    return -value if text.startswith("-") else value


def read_time(text: str) -> int:
    sign, bare = (-1, text[1:]) if text.startswith("-") else (1, text)
    duration = read_duration(bare)
    return sign * (duration if duration is not None else round(float(bare) * 1000))


def close(expected: float, found: float) -> bool:
    if math.isnan(expected) or math.isnan(found):
        return math.isnan(expected) and math.isnan(found)
    if expected == found:
        return True
    if math.isinf(expected) or math.isinf(found):
        return False
    total, difference = abs(expected) + abs(found), abs(expected - found)
    if expected == 0 or found == 0 or total < SMALLEST_NORMAL:
        return difference < TOLERANCE * SMALLEST_NORMAL
    return difference / min(total, 1.7976931348623157e308) < TOLERANCE


class Script:
    """One file, run from the top; loaded samples stay until `clear`.

    With `names_last`, metric names are removed at the end of a query, as Prometheus has it where it runs its own files.
    """

    def __init__(self, *, names_last: bool = False) -> None:
        self.names_last = names_last
        self.clear()

    def clear(self) -> None:
        self.memory = Memory()
        self.native: set[Labels] = set()
        self.started: set[Labels] = set()

    def run(self, path: Path) -> Iterator[Verdict]:
        """Yield what became of each case, and of each other command that could not be followed."""
        try:
            text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as wrong:
            yield Verdict(0, path.name, "failed", f"cannot be read: {wrong}")
            return
        for command in commands(text):
            try:
                verdict = self.follow(command)
            except Exception as wrong:  # noqa: BLE001  (one case that breaks the evaluator or the runner is one failure)
                verdict = Verdict(command.line, command.head, "failed", f"{type(wrong).__name__}: {wrong}")
            if verdict is not None:
                yield verdict

    def follow(self, command: Command) -> Verdict | None:
        if command.head == "clear":
            return self.clear()
        found = LOAD.fullmatch(command.head)
        if found is not None:
            return self.load(command, read_time(found.group(2)), nhcb=found.group(1) is not None)
        return self.judge(command)

    def load(self, command: Command, step: int, *, nhcb: bool) -> None:
        starts = False
        for line in command.body:
            name, points = split_series(line)
            if name.endswith("@st"):  # when counters began: for all series below, or for one
                starts = starts or name == "@st"
                self.started |= {read_labels(name.removesuffix("@st"))} if name != "@st" else set()
                continue
            labels = read_labels(name)
            self.started |= {labels} if starts else set()
            if nhcb and (base := re.fullmatch("(.+)_bucket", labels.get("__name__", ""))):
                self.native.add(labels.without("le").with_({"__name__": base.group(1)}))
            if "{{" in points:
                self.native.add(labels)
                continue
            samples = ((place * step, value) for place, value in enumerate(read_values(points)) if value is not None)
            self.memory.add(labels, samples)

    def judge(self, command: Command) -> Verdict:
        if not (INSTANT.fullmatch(command.head) or RANGE.fullmatch(command.head)):
            return Verdict(command.line, command.head, "failed", "this command is not understood")
        spec = Expectation(command)
        reason = self.out_of_scope(spec)
        if reason is not None:
            return Verdict(command.line, spec.query, "skipped", reason)
        why = spec.compare(self.memory, names_last=self.names_last)
        return Verdict(command.line, spec.query, "failed" if why else "passed", why or "")

    def out_of_scope(self, spec: Expectation) -> str | None:
        if any("{{" in line for line in spec.lines):
            return NATIVE
        try:
            tree = parse(spec.query)
        except ParseError as wrong:
            return NATIVE if "native histograms" in wrong.message and not spec.fails else None
        for remark in unsupported(tree):
            return INFO if remark.message.startswith("info") else NATIVE
        for reason, unread in ((NATIVE, self.native), (STARTS, self.started)):
            for each in selectors(tree):
                if any(all(admits(matcher, labels) for matcher in each.matchers) for labels in unread):
                    return reason
        return None


class Expectation:
    """An `eval` command: the query and what it must give."""

    def __init__(self, command: Command) -> None:
        self.fails = False
        self.message: str | None = None
        self.pattern: str | None = None
        self.ordered = False
        self.text: str | None = None
        self.course: tuple[int, int] | None = None
        self.lines: list[str] = []
        instant = INSTANT.fullmatch(command.head)
        ranged = RANGE.fullmatch(command.head)
        if instant is not None:
            old, at, self.query = instant.groups()
            self.ends = (read_time(at or "0"), read_time(at or "0"))
            self.step = 0
        else:
            assert ranged is not None, command.head
            old, start, end, step, self.query = ranged.groups()
            self.step = read_time(step)
            self.ends = (read_time(start), read_time(end))
        self.is_range = ranged is not None and instant is None
        self.fails = old == "fail"
        self.ordered = old == "ordered"
        for line in command.body:
            self.read(line)

    def read(self, line: str) -> None:
        first, _, after = line.partition(" ")
        if first in {"expected_fail_message", "expected_fail_regexp"}:
            what, rest = "fail", ("msg:" if first.endswith("message") else "regex:") + after
        elif first == "expect":
            what, _, rest = after.strip().partition(" ")
        else:
            self.lines.append(line)
            return
        rest = rest.strip()
        if what == "fail":
            self.fails = True
            if rest.startswith("msg:"):
                self.message = rest.removeprefix("msg:").strip()
            elif rest.startswith("regex:"):
                self.pattern = rest.removeprefix("regex:").strip()
        elif what == "ordered":
            self.ordered = True
        elif what == "string":
            self.text = read_string(rest)
        elif what == "range":
            found = COURSE.fullmatch(rest)
            assert found is not None, line
            self.course = (read_time(found.group(1)), read_time(found.group(3)))
        elif what not in IGNORED:
            raise ValueError(f"not understood: {line}")

    def compare(self, memory: Memory, *, names_last: bool) -> str | None:
        """Return what is wrong; None when nothing is."""
        try:
            tree = parse(self.query)
            if self.is_range:
                result = evaluate_range(tree, memory, *self.ends, self.step, names_last=names_last)
            else:
                result = evaluate(tree, memory, self.ends[0], names_last=names_last)
        except (ParseError, EvaluationError) as wrong:
            return self.judge_error(wrong)
        if self.fails:
            return f"must fail, gave {result}"
        match result:
            case Text(value=value):
                return None if value == self.text else f"{value!r} for {self.text!r}"
            case Scalar(value=value):
                wanted = self.expected()
                first = wanted[0][1][0] if len(wanted) == 1 and wanted[0][1] else None
                return None if first is not None and close(first, value) else f"{value} for {self.lines}"
            case Vector():
                return self.judge_vector(result)
            case Matrix():
                return self.judge_matrix(result)

    def judge_error(self, wrong: ParseError | EvaluationError) -> str | None:
        if not self.fails:
            return f"error: {wrong}"
        if self.message is not None and self.message not in wrong.message:
            return f"says {wrong.message!r} for {self.message!r}"
        if self.pattern is not None and re.search(self.pattern, wrong.message) is None:
            return f"says {wrong.message!r} for {self.pattern!r}"
        return None

    def expected(self) -> list[tuple[Labels, list[float | None]]]:
        found = []
        for line in self.lines:
            name, values = split_series(line)
            try:  # a bare number is the value of a scalar
                found.append((Labels(), read_values(line)))
            except ValueError:
                found.append((read_labels(name), read_values(values)))
        return found

    def judge_vector(self, result: Vector) -> str | None:
        wanted = [(labels, values[0] if values else None) for labels, values in self.expected()]
        got = list(zip(result.series, result.values.tolist(), strict=True))
        if self.ordered and [labels for labels, _ in wanted] != [labels for labels, _ in got]:
            return f"order {[str(labels) for labels, _ in got]}"
        if len(wanted) != len(got) or {labels for labels, _ in wanted} != {labels for labels, _ in got}:
            return f"series {[f'{labels} {value}' for labels, value in got]}"
        values = dict(got)
        for labels, value in wanted:
            if value is None or not close(value, values[labels]):
                return f"{labels}: {values[labels]} for {value}"
        return None

    def judge_matrix(self, result: Matrix) -> str | None:
        start, step = self.course or (self.ends[0], self.step)
        wanted = {
            labels: {start + place * step: value for place, value in enumerate(values) if value is not None}
            for labels, values in self.expected()
        }
        wanted = {labels: points for labels, points in wanted.items() if points}
        got = {
            points.labels: dict(zip(points.times.tolist(), points.values.tolist(), strict=True))
            for points in result.series
        }
        if wanted.keys() != got.keys():
            return f"series {[str(labels) for labels in got]}"
        for labels, points in wanted.items():
            if points.keys() != got[labels].keys():
                return f"{labels}: {got[labels]}"
            for time, value in points.items():
                if not close(value, got[labels][time]):
                    return f"{labels} at {time}: {got[labels][time]} for {value}"
        return None
