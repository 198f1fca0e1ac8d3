"""The corners of the language: series that are odd on purpose, and questions about them that are always asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product, repeat

from promql_memory import Memory

from engine.model.labels import METRIC_NAME, Labels

NAN, INF = math.nan, math.inf
HISTOGRAMS: dict[str, tuple[tuple[str, float], ...]] = {
    "falling": (("0.1", 5), ("0.5", 3), ("1", 7), ("+Inf", 7)),
    "open": (("0.1", 5), ("0.5", 6)),
    "twice": (("1", 2), ("1.0", 3), ("2", 9), ("+Inf", 10)),
    "single": (("+Inf", 4),),
    "empty": (("1", 0), ("+Inf", 0)),
    "below": (("-1", 1), ("0", 2), ("1", 4), ("+Inf", 5)),
    "negative": (("-2", 1), ("-1", 2), ("+Inf", 5)),
    "textual": (("a", 1), ("1", 2), ("+Inf", 5), ("", 7)),
    "unknown": (("1", NAN), ("2", 2), ("+Inf", 5)),
    "uncounted": (("1", 1), ("2", 2), ("+Inf", NAN)),
    "infinite": (("1", INF), ("2", INF), ("+Inf", INF)),
    "spelled": (("1e-3", 1), ("1E3", 2), ("infinity", 5)),
    "spaced": ((" 1", 1), ("2 ", 1), ("٣", 1), ("4", 2), ("+Inf", 3)),
    "close": (("1", 1), ("2", 1.0000000000001), ("3", 1), ("+Inf", 1)),
    "minus": (("1", -1), ("2", -2), ("+Inf", -5)),
}
VALUES = {
    **{f'special{{i="{place}"}}': value for place, value in enumerate((1, NAN, INF, -INF, 3, -0.0, 0.0, 4))},
    **{
        f'plain{{k="{place}"}}': value
        for place, value in enumerate((1e21, 1e-7, 123456789.25, 5e-324, 0.1, 1e15 + 0.5))
    },
}
JOINED = (
    *({METRIC_NAME: "one", "l": "x"}, {METRIC_NAME: "two", "l": "x"}, {METRIC_NAME: "two", "l": "y", "z": "1"}),
    *({METRIC_NAME: "many", "l": "x", "i": "1"}, {METRIC_NAME: "many", "l": "x", "i": "2"}),
    *({METRIC_NAME: "info_x", "l": "x", "v": "9"}, {METRIC_NAME: "info_y", "l": "x", "v": "9"}),
    *({METRIC_NAME: "info_y", "l": "x", "v": "8"}, {METRIC_NAME: "a.b", "c.d": "e"}, {METRIC_NAME: "日本", "x": "y"}),
)
NATURAL = ("a1", "a2", "a10", "b", "A1", "a1b", "10", "9", "1.5", "1.10")
BOTH = '{__name__=~"one|two"}'


def add_corners(memory: Memory, begin: int) -> None:
    """Add the odd series: steady ones, so that a question about any moment meets them."""

    def add(labels: Labels, value: Callable[[int], float]) -> None:
        memory.add(labels, [(begin + 5000 + 30_000 * step, value(step)) for step in range(90)])

    for name, buckets in HISTOGRAMS.items():
        for bound, count in buckets:
            add(Labels({METRIC_NAME: f"{name}_bucket", "le": bound}), lambda _, count=count: float(count))
    for text, value in VALUES.items():
        name, _, rest = text.partition("{")
        label, _, quoted = rest.partition("=")
        add(Labels({METRIC_NAME: name, label: quoted.strip('"}')}), lambda _, value=value: float(value))
    for place, labels in enumerate(JOINED):
        add(Labels(labels), lambda _, place=place: float(place))
    for place, text in enumerate(NATURAL):
        add(Labels({METRIC_NAME: "natural", "x": text}), lambda _, place=place: float(place))
    add(Labels({METRIC_NAME: "steps_total", "i": "1"}), lambda step: float(step % 7))
    add(Labels({METRIC_NAME: "mixed"}), lambda step: (1.0, NAN, INF, -2.0, -INF, 0.0)[step % 6])


def histograms() -> Iterator[str]:
    fractions = (
        "0, 1",
        "-Inf, Inf",
        "-1, 0.5",
        "1, 0",
        "1, 1",
        "NaN, 1",
        "0.3, 1.7",
        "-5, -1.5",
        "1.5, 3",
        "2, Inf",
        "Inf, Inf",
    )
    for name in HISTOGRAMS:
        for share in ("0", "0.25", "0.5", "0.9", "1", "-1", "2", "NaN"):
            yield f"histogram_quantile({share}, {name}_bucket)"
        for bounds in fractions:
            yield f"histogram_fraction({bounds}, {name}_bucket)"
        yield f"histogram_quantile(0.5, sum by (le) ({name}_bucket))"
        yield f"histogram_quantile(0.5, rate({name}_bucket[5m]))"
    yield 'histogram_quantile(0.5, {__name__=~"(falling|twice)_bucket"})'


def matchings() -> Iterator[str]:
    operators = ("+", "/", "^", "==", ">", "< bool", "atan2", "and", "or", "unless")
    ways = (
        *("", "on (l)", "ignoring (i, v)", "on (l) group_left", "on (l) group_left (v)", "on (l) group_right (v)"),
        *("on (l) group_left (i)", "on (l) group_left (l)", "on () group_left", "on (l) group_left (__name__)"),
        *(
            "on (l, __name__)",
            "ignoring (i) group_left (i)",
            "on (l) group_right (i, v)",
            "ignoring (i, v) group_left (v)",
        ),
    )
    sides = (
        *(("many", "info_x"), ("info_x", "many"), ("many", "info_y"), ("info_y", "many"), ("many", "many")),
        *(("one", "two"), ("one", "missing"), (BOTH, "one"), ("one", BOTH), (BOTH, BOTH)),
    )
    for operator, way, (left, right) in product(operators, ways, sides):
        yield f"{left} {operator} {way} {right}"


def names() -> Iterator[str]:
    """Yield questions about who loses a metric's name, and what happens where series become the same by that."""
    plain = ("abs", "ceil", "timestamp", "hour", "sort", "deg", "absent", "sgn", "ln")
    over = (
        *(
            "rate",
            "sum_over_time",
            "last_over_time",
            "present_over_time",
            "count_over_time",
            "changes",
            "deriv",
            "resets",
        ),
        *(
            "idelta",
            "delta",
            "max_over_time",
            "min_over_time",
            "stddev_over_time",
            "avg_over_time",
            "ts_of_last_over_time",
        ),
    )
    for series in (BOTH, '{__name__=~"one|two", l="x"}', '{__name__=~"info_x|many"}'):
        yield from (f"{function}({series})" for function in plain)
        yield from (f"{function}({series}[5m])" for function in over)
        yield from (f"quantile_over_time(0.5, {series}[5m])", f"predict_linear({series}[5m], 5)", f"-{series}")
        yield from (f"clamp_min({series}, 1)", f"round({series})", f'label_join({series}, "l", "-", "x")')
        yield from (
            f"{series} + 1",
            f"1 + {series}",
            f"{series} > 0",
            f"{series} > bool 0",
            f"0 < {series}",
            f"0 == bool {series}",
        )
        yield from (f"{series} and one", f"{series} or one", f"{series} unless one", f"sum by (__name__) ({series})")
        yield from (f"topk(3, {series})", f"sum by (__name__) (rate({series}[5m]))", f"rate({series}[5m]) or one")
        yield from (f"last_over_time({series}[5m]) + 0", f"avg_over_time(({series} + 0)[5m:1m])", f"({series})[5m:1m]")
        for name, source in product(
            ("__name__", "q"), ("one", "rate(one[5m])", series, f"rate({series}[5m])", f"{series} + 0")
        ):
            yield f'label_replace({source}, "{name}", "kept", "", "")'
            yield f'label_replace({source}, "{name}", "$1", "__name__", "(.*)")'
    yield from (
        "(one + 0) or (two + 0)",
        "(one + 0) or two",
        "(one + 0) or (one - 0)",
        "one < bool on (l) group_left (__name__) two",
    )
    yield 'sum by (__name__) (label_replace(one + 1, "__name__", "z", "", ""))'


def labels() -> Iterator[str]:
    for target in ("l", "new", "", "a b", "a.b", "0a", "日本", "__name__", "~", "__x__", "a:b"):
        yield f'label_replace(two, "{target}", "$1", "l", "(.*)")'
        yield f'label_replace(missing, "{target}", "$1", "l", "(.*)")'
        yield f'label_replace(two, "q", "$1", "{target}", "(.*)")'
        yield f'label_join(two, "{target}", "-", "l", "z")'
        yield f'label_join(two, "q", "-", "{target}")'
        yield f'sum by ("{target}") (two)'
        yield f'two + on ("{target}") one'
        yield f'count_values("{target}", two)'
        yield f'sort_by_label(two, "{target}")'
        if target:
            yield f'two{{"{target}"=""}}'
        yield f'two{{"{target}"!="x"}}'
    for text in ("$01", "${01}", "$10", "${1}0", "$-", "${1", "${}", "$_", "$é", "$$$1", "$0", "a$b", "$1$2"):
        yield f'label_replace(two, "q", "{text}", "l", "(.)")'
    for pattern in (
        "[",
        "(?P<b>.)",
        "(?P<é>.)",
        "(a)|x",
        r"\\C",
        r"\\Qx\\E",
        "x*+",
        "(?=x)",
        r"\\pL",
        "(?i:X)",
        "a{2,1}",
        "(?<b>.)",
    ):
        yield f'label_replace(two, "q", "$b-$1", "l", "{pattern}")'
        yield f'two{{l=~"{pattern}"}}'
    for label, clause in product(
        ("v", "k", "le", "a.b", "__name__"), ("", "by (k)", "without (k)", "by (v)", "without (v)", "by ()")
    ):
        yield f'count_values {clause} ("{label}", plain)'
        yield f'count_values {clause} ("{label}", special)'
    yield from ('{"a.b"}', '{"a.b", "c.d"="e"}', 'rate({"a.b"}[5m])', 'sum by ("c.d") ({"a.b"})', "sum by (c.d) (one)")
    yield from (
        '{"a.b"} + on ("c.d") {"a.b"}',
        "{'a.b'}",
        '{"日本"} offset 1m',
        '{"a.b", __name__="a.b"}',
        '{"one"="x"}',
    )
    matchers = ('a="b"', 'a!="c"', 'a=~"b"', 'a!~"c"', 'a="x"', 'a=""', 'a!=""', 'x="y"')
    for first, second in product(matchers, matchers):
        yield f"absent(missing{{{first}, {second}}})"
        yield f"absent_over_time(missing{{{first}, {second}}}[5m] offset 1m)"
    inside = (
        "(missing{a='b'})",
        "-missing{a='b'}",
        "missing{a='b'} > 1",
        "sum(missing{a='b'})",
        "missing{a='b'} @ 1",
        "one",
        "vector(1)",
    )
    yield from (f"absent({text})" for text in inside)


def choices() -> Iterator[str]:
    numbers = (
        "0",
        "1",
        "2",
        "2.9",
        "-1",
        "100",
        "9223372036854774784",
        "9223372036854775807",
        "NaN",
        "Inf",
        "-Inf",
        "scalar(one)",
    )
    for function, number, series in product(("topk", "bottomk", "limitk"), numbers, ("many", "one", "two")):
        yield f"{function}({number}, {series})"
    for function, number in product(("topk", "bottomk"), range(1, 9)):
        yield f"sum by (i) ({function}({number}, special != 0))"
    for ratio in ("0", "0.1", "-0.1", "0.5", "-0.5", "1", "-1", "1.1", "-1.1", "NaN", "Inf"):
        yield f"limit_ratio({ratio}, natural)"
    for share, series in product(
        ("-0.1", "1.1", "NaN", "Inf", "-Inf", "0", "1", "0.5", "scalar(missing)"), ("special", "many")
    ):
        yield f"quantile({share}, {series})"
    for share, series in product(("-0.1", "1.1", "NaN", "0", "1", "0.5"), ("mixed", "steps_total", "missing")):
        yield f"quantile_over_time({share}, {series}[5m])"


def numbers() -> Iterator[str]:
    yield from (
        "0x1F",
        "0X1f",
        "0x",
        "0x1.8",
        "0x1p3",
        "1_000",
        "1__000",
        "1000_",
        "1_000.5",
        "1e1_0",
        "1_e1",
        "0_1",
        "0b11",
        "0o17",
    )
    yield from (
        "017",
        "08",
        "09.5",
        "1E3",
        "1e+3",
        "1e400",
        "-1e400",
        "1e-400",
        "+Inf",
        "iNF",
        "Infinity",
        "-NaN",
        ".5",
        "5.",
        ".",
    )
    yield from (
        "0x_1",
        "0x1_",
        "1h",
        "1h30m",
        "90m",
        "1.5h",
        "1d1h1m1s1ms",
        "1ms1s",
        "1y",
        "0d",
        "5m * 2",
        "5m - 1h",
        "2 ^ 1m",
    )
    yield from (
        "1m == bool 60",
        "1H",
        "300y",
        "0x7fffffffffffffff",
        "0xffffffffffffffffffff",
        "0777",
        "0888",
        "1500ms",
        "1e5m",
    )
    yield from (
        "100000000000000000000",
        "9007199254740993",
        "2 ^ 3 ^ 2",
        "-2 ^ 2",
        "2 - - 3",
        "-5 % 3",
        "5 % -3",
        "5 % Inf",
        "1 / -0",
    )
    unary = ("sgn", "sqrt", "ln", "exp", "round", "abs", "acosh", "atanh")
    yield from (f"{function}(special)" for function in unary)
    for operator, number in product(
        ("+", "-", "*", "/", "%", "^", "atan2", "==", ">", "!= bool"), ("0", "0.5", "2", "NaN", "Inf", "-Inf", "-0")
    ):
        yield f"special {operator} {number}"
        yield f"{number} {operator} special"
    for bound in ("-1", "1", "NaN", "Inf", "-Inf"):
        yield from (
            f"clamp_min(special, {bound})",
            f"clamp_max(special, {bound})",
            f"clamp(special, {bound}, 2)",
            f"clamp(special, -Inf, {bound})",
            f"round(special, {bound})",
        )
    yield from (
        f"{function}(special)" for function in ("sum", "avg", "min", "max", "stddev", "stdvar", "group", "count")
    )
    over = ("sum", "avg", "min", "max", "stddev", "last", "count", "present")
    yield from (f"{function}_over_time(mixed[10m])" for function in over)
    yield from (
        f"{function}(mixed[10m])" for function in ("rate", "delta", "deriv", "changes", "resets", "idelta", "irate")
    )


def spans() -> Iterator[str]:
    offsets = (
        *(
            "offset 0",
            "offset -10m",
            "offset 1e2",
            "offset 5",
            "offset 0x10",
            "offset (1m)",
            "offset (1m + 30s)",
            "offset -(1m)",
        ),
        *(
            "offset (5 * 1m)",
            "offset (2 ^ 3)",
            "offset (10 % 3)",
            "offset (1m / 0)",
            "offset -(-1m)",
            "offset +1m",
            "offset 1m + 1",
        ),
        *(
            "@ start()",
            "@ end()",
            "@ start() offset 1m",
            "@ end() offset -1m",
            "@ -1",
            "@ 0",
            "@ 1.79e9",
            "@ (1)",
            "@ now()",
        ),
    )
    ranges = (
        *(
            "5m",
            "5m:",
            "300",
            "1e2",
            "0x40",
            "5m + 1m",
            "(5m + 1m)",
            "2 * 5m",
            "5m / 2",
            "5m % 2m",
            "-5m",
            "+5m",
            "2 ^ 8",
            "5m - 5m",
        ),
        *(
            "1m + 1m:30s",
            "5m:30s + 30s",
            "5m:(1m)",
            "5m:0s",
            "5m:-1s",
            "1e400",
            "NaN",
            "5m:7m",
            "5m5m",
            "1m 30s",
            "'5m'",
            "g",
            "time()",
        ),
    )
    for series in ("g", "steps_total"):
        yield from (f"{series} {offset}" for offset in offsets)
        yield from (f"sum_over_time({series}[5m] {offset})" for offset in offsets)
        yield from (f"{function}({series}[{reach}])" for function, reach in product(("sum_over_time", "rate"), ranges))
    for reach, pin in product(
        ("5m:", "5m:1m", "7m:17s"), ("", "offset 1m", "offset -3m", "@ end()", "@ start() offset 30s")
    ):
        yield f"count_over_time((g > 0)[{reach}] {pin})"


def corners() -> tuple[str, ...]:
    """Return all of the questions."""
    found = (histograms(), matchings(), names(), labels(), choices(), numbers(), spans())
    return tuple(dict.fromkeys(text for some in found for text in some))


ORDERED = (
    *("sort(natural)", "sort_desc(natural)", "sort(special != 0)", "sort_desc(special != 0)", "sort_desc(plain)"),
    *('sort_by_label(natural, "x")', 'sort_by_label_desc(natural, "x")', 'sort_by_label(many, "l", "i")'),
    *(
        'sort_by_label_desc(many, "l", "i")',
        "topk(5, plain)",
        "bottomk(5, plain)",
        "topk(3, natural)",
        "bottomk(9, natural)",
    ),
)
"""Questions whose answers have an order."""

FAR_OFF = (
    (0.25, 0.25, 0.0, 1.4214826301006216e-55, *repeat(1.0, 9)),  # next to what was before, it is next to nothing
    (1e3, 1e3, 1e-300, 3e-300, *repeat(-2.0, 9)),
    (0.0, -1e-200, 1e-200, -1e-200, 5.0, 5.0 - 1e-200, *repeat(7.0, 7)),  # squares that are too small for any number
    (0.0, 1.0, 2.0, 1e16, 0.0, 3.0, 3.0, 0.0, 2.0, 3.0, 0.0, 1.0, 1.0),  # falls after which little is left of a sum
)
FAR_OFF_LINES = tuple(
    function.format(f"x[{seconds}s]")
    for function in (
        "predict_linear({}, 60)",
        "deriv({})",
        "stddev_over_time({})",
        "stdvar_over_time({})",
        "avg_over_time({})",
        "increase({})",
        "rate({})",
        "delta({})",
    )
    for seconds in (20, 45, 60, 150)
)
