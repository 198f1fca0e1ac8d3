"""Expressions at random, well-typed, as text."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = st.sampled_from(["cpu", "node:load:avg", "up", "sum", "offset", "by"])
LABELS = st.sampled_from(["job", "instance", "mode", "le", "on", '"a.b"'])
MATCHES = st.one_of(
    st.tuples(
        st.sampled_from(["=", "!="]),
        st.sampled_from(['"x"', "'it\\'s'", '"a\\"b\\n"', "`raw\\`", '""', '"é{}"', '"\\xff"']),
    ),
    st.tuples(st.sampled_from(["=~", "!~"]), st.sampled_from(['"x.*"', "'a|b'", '"(?i:A)+"', '""', "`\\d+`"])),
)
NUMBERS = st.sampled_from(["0", "1", "2.5", "1e3", "0x1F", "5m", "1h30m", "Inf", "NaN", ".5", "1_000"])
DURATIONS = st.sampled_from(["5m", "1h30m", "90", "0.5", "1w", "2m + 30s"])
OFFSETS = st.sampled_from(["", " offset 5m", " offset -1h", " offset 30", " @ 10", " @ start()", " @ 1.5 offset 1d"])


@st.composite
def selectors(draw: st.DrawFn) -> str:
    name = draw(NAMES)
    pairs = draw(st.lists(st.tuples(LABELS, MATCHES), max_size=2))
    inside = ",".join(f"{label}{operator}{value}" for label, (operator, value) in pairs)
    return name + (f"{{{inside}}}" if inside else "")


@st.composite
def ranges(draw: st.DrawFn, depth: int) -> str:
    if depth and draw(st.booleans()):
        step = draw(st.sampled_from(["", "1m", "15"]))
        return f"({draw(vectors(depth - 1))})[{draw(DURATIONS)}:{step}]{draw(OFFSETS)}"
    return f"{draw(selectors())}[{draw(DURATIONS)}]{draw(OFFSETS)}"


def label_lists() -> st.SearchStrategy[str]:
    return st.lists(LABELS, max_size=2, unique=True).map(",".join)


@st.composite
def vectors(draw: st.DrawFn, depth: int) -> str:
    if depth == 0:
        return draw(selectors()) + draw(OFFSETS)
    below = vectors(depth - 1)
    match draw(st.integers(0, 9)):
        case 0:
            return f"{draw(st.sampled_from(['rate', 'avg_over_time', 'changes']))}({draw(ranges(depth - 1))})"
        case 1:
            return f"{draw(st.sampled_from(['abs', 'ceil', 'absent', 'sort']))}({draw(below)})"
        case 2:
            grouping = draw(st.sampled_from(["by", "without"])) + f" ({draw(label_lists())})"
            return f"{draw(st.sampled_from(['sum', 'AVG', 'count']))} {grouping} ({draw(below)})"
        case 3:
            return f"topk({draw(scalars(depth - 1))}, {draw(below)}) by ({draw(label_lists())})"
        case 4:
            return f"{draw(st.sampled_from(['-', '+', '- -']))}({draw(below)})"
        case 5:
            operator = draw(st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2", ">", "== bool", "<="]))
            first, second = draw(below), draw(scalars(depth - 1))
            return f"{first} {operator} {second}" if draw(st.booleans()) else f"({second}) {operator} ({first})"
        case 6:
            matching = draw(st.sampled_from(["", f"on ({draw(label_lists())})", f"ignoring ({draw(label_lists())})"]))
            return f"{draw(below)} {draw(st.sampled_from(['and', 'or', 'unless', 'AND']))} {matching} ({draw(below)})"
        case 7:
            operator = draw(st.sampled_from(["+", "*", "^", "> bool", "<", "-"]))
            matching = draw(
                st.sampled_from(
                    ["", "on (job)", "ignoring (mode)", "on (job) group_left (mode)", "on () group_right ()"]
                )
            )
            right = draw(below)
            return f"({draw(below)}) {operator} {matching} {f'({right})' if matching else right}"
        case 8:
            return f"predict_linear({draw(ranges(depth - 1))}, {draw(scalars(depth - 1))})"
        case _:
            return f'label_replace({draw(below)}, "a", "$1", "b", "(.*)")'


@st.composite
def scalars(draw: st.DrawFn, depth: int) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(NUMBERS)
    match draw(st.integers(0, 3)):
        case 0:
            return f"scalar({draw(vectors(depth - 1))})"
        case 1:
            return f"-{draw(NUMBERS)}"
        case 2:
            return f"({draw(NUMBERS)} {draw(st.sampled_from(['+', '*', '^', '< bool']))} {draw(scalars(depth - 1))})"
        case _:
            return "time()"


def expressions() -> st.SearchStrategy[str]:
    return st.integers(0, 3).flatmap(lambda depth: st.one_of(vectors(depth), ranges(depth), scalars(depth)))
