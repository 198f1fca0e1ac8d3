"""Questions at random about `promql_random`'s series: well-typed, and answered alike whatever the order of series."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st
from promql_corners import corners

GAUGES = ("g", "k")
NAMES = (*("g", "k", "c_total") * 4, "up", "up", "rack", "limit", "ended", "missing")
MATCHERS = (
    'host="a"',
    'host!="b"',
    'host=~"a|c"',
    'host!~"a.*"',
    'mode="x"',
    'mode=""',
    'mode!=""',
    'mode=~".+"',
    'mode=~"x|"',
    'nothing=""',
    '"host"=~`[^c]`',
)
DURATIONS = ("45s", "1m", "90s", "2m", "5m", "7m30s", "20m", "61", "1m + 90s", "(2 ^ 7)", "5m * 2 - 30", "1e2")
OFFSETS = ("offset 1m", "offset -1m", "offset 5m", "offset 17s", "offset -90s", "offset (1m + 5)", "offset -(2 * 45s)")
LABEL_LISTS = ("", "host", "mode", "host, mode", "nothing", "__name__", "host, __name__", '"host"', "bool, host", "a:b")
PLAIN = (
    *("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "sort", "sort_desc", "timestamp"),
)
CALENDAR = ("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year")
OVER_TIME = (
    *("avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time"),
    *("stdvar_over_time", "last_over_time", "present_over_time", "changes", "resets"),
    *("ts_of_min_over_time", "ts_of_max_over_time", "ts_of_last_over_time"),
    *("rate", "increase", "delta", "irate", "idelta", "deriv", "rate", "increase"),
)
OVER_RANGES = (
    *(f"{name}({{}})" for name in dict.fromkeys(OVER_TIME)),
    *("quantile_over_time(0.3, {})", "absent_over_time({})"),
    *("predict_linear({}, 60)", "predict_linear({}, 3600)"),
    *("double_exponential_smoothing({}, 0.5, 0.25)",),
)
REDUCTIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
NUMBERS = ("0", "1", "2", "0.5", "-1", "3.25", "1e3", "0x10", "1_000", "NaN", "Inf", "-Inf", "5m", "-0", "017", "1m30s")
AHEAD = ("0", "5m", "-90", "NaN", "1.5")
SHARES = ("0", "0.25", "0.5", "0.9", "1", "-1", "2", "NaN")
MATCHINGS = (
    "",
    "",
    "on (host)",
    "on (host, mode)",
    "ignoring (mode)",
    "ignoring (host)",
    "on ()",
    "ignoring ()",
    "on (__name__)",
)
GROUPED = (
    *("on (host) group_left", "on (host) group_left (row)", "on (host) group_right", "ignoring (mode) group_left ()"),
    *("on (mode) group_left", "ignoring (row, mode) group_left (row)", "on (host) group_right (mode)"),
)


def one_of(items: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(items)


@st.composite
def pins(draw: st.DrawFn, begin: int) -> str:
    """Draw modifiers: most often none."""
    kind = draw(st.integers(0, 9))
    at = draw(one_of(("@ start()", "@ end()", f"@ {begin / 1000 + 1234.5:.3f}", f"@ {begin // 1000 + 300}")))
    offset = draw(one_of(OFFSETS))
    return {7: f" {offset}", 8: f" {at}", 9: f" {at} {offset}"}.get(kind, "")


@st.composite
def series(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 11)) == 0:
        return draw(
            one_of(('{__name__=~"g|k"}', '{__name__="up"}', '{"c_total"}', '{host="a", __name__!~"h.*"}', '{mode="x"}'))
        )
    inside = ", ".join(draw(st.lists(one_of(MATCHERS), max_size=draw(st.sampled_from((0, 0, 1, 2))), unique=True)))
    return draw(one_of(NAMES)) + (f"{{{inside}}}" if inside else "")


@st.composite
def windows(draw: st.DrawFn, depth: int, begin: int) -> str:
    if depth and draw(st.integers(0, 3)) == 0:
        step = draw(one_of(("", "1m", "17s", "30s", "7m")))
        reach = draw(one_of(("1m", "5m", "7m30s")))
        return f"({draw(vectors(depth - 1, begin))})[{reach}:{step}]{draw(pins(begin))}"
    return f"{draw(series())}[{draw(one_of(DURATIONS))}]{draw(pins(begin))}"


@st.composite
def vectors(draw: st.DrawFn, depth: int, begin: int) -> str:
    if depth == 0:
        return draw(series()) + draw(pins(begin))
    below = vectors(depth - 1, begin)
    scalar = scalars(depth - 1, begin)
    match draw(st.integers(0, 19)):
        case 0 | 1 | 2 | 3:
            return f"{draw(one_of(OVER_TIME))}({draw(windows(depth, begin))})"
        case 4:
            return draw(
                st.one_of(
                    st.tuples(one_of(SHARES), windows(depth, begin)).map(
                        lambda two: f"quantile_over_time({two[0]}, {two[1]})"
                    ),
                    st.tuples(windows(depth, begin), one_of(AHEAD)).map(
                        lambda two: f"predict_linear({two[0]}, {two[1]})"
                    ),
                    one_of(DURATIONS).map(lambda one: f"mad_over_time(c_total[{one}])"),
                    windows(depth, begin).map(lambda one: f"double_exponential_smoothing({one}, 0.5, 0.25)"),
                )
            )
        case 5 | 6:
            return f"{draw(one_of(PLAIN))}({draw(below)})"
        case 7:
            shape = draw(
                one_of(
                    (
                        "clamp({}, -2, 9.5)",
                        "clamp_min({}, 3)",
                        "clamp_max({}, 3)",
                        "round({})",
                        "round({}, 0.25)",
                        "-{}",
                    )
                )
            )
            return shape.format(f"({draw(below)})" if shape == "-{}" else draw(below))
        case 8 | 9 | 10:
            grouping = draw(one_of(("", "by", "without")))
            clause = f" {grouping} ({draw(one_of(LABEL_LISTS))})" if grouping else ""
            return f"{draw(one_of(REDUCTIONS))}{clause} ({draw(below)})"
        case 11:
            clause = draw(one_of(("", " by (host)", " without (mode)")))
            return draw(
                st.one_of(
                    st.tuples(one_of(SHARES), below).map(lambda two: f"quantile{clause} ({two[0]}, {two[1]})"),
                    series().map(lambda one: f'count_values{clause} ("value", {one})'),
                    below.map(lambda one: f'count_values{clause} ("host", round({one}))'),
                    st.tuples(st.integers(-1, 4), below).map(lambda two: f"sum(topk{clause} ({two[0]}, {two[1]}))"),
                    st.tuples(st.integers(-1, 4), below).map(lambda two: f"count(limitk{clause} ({two[0]}, {two[1]}))"),
                    st.tuples(one_of(("0.3", "-0.7", "1", "2", "0")), below).map(
                        lambda two: f"limit_ratio{clause} ({two[0]}, {two[1]})"
                    ),
                )
            )
        case 12 | 13:
            operator = draw(one_of((*ARITHMETIC, *COMPARISONS, *(f"{sign} bool" for sign in COMPARISONS))))
            first, second = draw(below), draw(scalar)
            return f"({first}) {operator} ({second})" if draw(st.booleans()) else f"({second}) {operator} ({first})"
        case 14 | 15:
            operator = draw(one_of((*ARITHMETIC, *COMPARISONS, *(f"{sign} bool" for sign in COMPARISONS))))
            return f"({draw(below)}) {operator} {draw(one_of(MATCHINGS))} ({draw(below)})"
        case 16:
            operator = draw(one_of((*ARITHMETIC, ">", "== bool")))
            return f"({draw(below)}) {operator} {draw(one_of(GROUPED))} ({draw(below)})"
        case 17:
            return f"({draw(below)}) {draw(one_of(('and', 'or', 'unless')))} {draw(one_of(MATCHINGS))} ({draw(below)})"
        case 18:
            target = draw(one_of(("new", "host", "__name__", "a b", "")))
            return draw(
                st.one_of(
                    below.map(lambda one: f'label_replace({one}, "{target}", "$1-z", "host", "(a|b).*")'),
                    below.map(lambda one: f'label_join({one}, "{target}", "/", "mode", "host")'),
                    below.map(lambda one: f"absent({one})"),
                    below.map(lambda one: f'sort_by_label_desc({one}, "mode", "host")'),
                    windows(depth, begin).map(lambda one: f"absent_over_time({one})"),
                    scalar.map(lambda one: f"vector({one})"),
                    # no calendar has an hour for what is no time
                    st.tuples(one_of(CALENDAR), below).map(lambda two: f"{two[0]}(timestamp({two[1]}) * 700 - 1e12)"),
                    st.tuples(one_of(CALENDAR)).map(lambda one: f"{one[0]}()"),
                )
            )
        case _:
            return draw(
                st.one_of(
                    st.tuples(one_of(SHARES), buckets(begin)).map(
                        lambda two: f"histogram_quantile({two[0]}, {two[1]})"
                    ),
                    buckets(begin).map(lambda one: f"histogram_fraction(0.2, 1.5, {one})"),
                )
            )


@st.composite
def buckets(draw: st.DrawFn, begin: int) -> str:
    source = "h_bucket" + draw(one_of(("", '{host="a"}', '{le!="1"}', '{le!="+Inf"}')))
    return draw(
        one_of(
            (
                f"{source}",
                f"rate({source}[5m])",
                f"sum by (le) (increase({source}[2m]))",
                f"{source}{draw(pins(begin))}",
            )
        )
    )


@st.composite
def scalars(draw: st.DrawFn, depth: int, begin: int) -> str:
    match draw(st.integers(0, 9)) if depth else 0:
        case 7:
            return f"scalar({draw(vectors(depth - 1, begin))})"
        case 8:
            operator = draw(one_of((*ARITHMETIC, *(f"{sign} bool" for sign in COMPARISONS))))
            return f"({draw(one_of(NUMBERS))} {operator} {draw(scalars(depth - 1, begin))})"
        case 9:
            return draw(one_of(("time()", "pi()", "-time()")))
        case _:
            return draw(one_of(NUMBERS))


def questions(begin: int) -> st.SearchStrategy[str]:
    """Return a strategy for expressions about series that begin at `begin` (milliseconds)."""
    depths = st.integers(0, 3)
    odd = st.sampled_from(corners())
    # a fraction that 3.5 does not know (see the known differences) is told by its NaN, which a comparison would swallow
    told = st.sampled_from([text for text in corners() if "histogram_fraction" not in text])
    both = st.one_of(
        st.tuples(odd, one_of(("or", "and on ()", "+ on (l)")), odd).map("({0[0]}) {0[1]} ({0[2]})".format),
        st.tuples(told, told).map("({0[0]}) > bool ({0[1]})".format),
    )
    return depths.flatmap(
        lambda depth: st.one_of(
            *[vectors(depth, begin)] * 8, scalars(depth, begin), st.one_of(both, odd.map("sum({})".format))
        )
    )


def every_range() -> Iterator[str]:
    """Yield questions whose windows all end at the instant, or at the same offsets before it, with many widths of each."""
    for function in OVER_RANGES:
        for source, offset in (
            ("g", ""),
            ("k", " offset 1m"),
            ("c_total", ""),
            ("level", ""),
            ('g{host="a"}', " offset 17s"),
        ):
            for reach in ("45s", "2m", "7m30s", "20m"):
                yield function.format(f"{source}[{reach}]{offset}")


def over_ranges(begin: int) -> st.SearchStrategy[str]:
    """Return a strategy for a function over a range selector, in calculations or alone."""
    source = st.tuples(
        st.one_of(series(), series(), st.just("level")), one_of(DURATIONS), st.one_of(st.just(""), pins(begin))
    )
    plain = st.tuples(one_of(OVER_RANGES), source).map(lambda two: two[0].format("{}[{}]{}".format(*two[1])))
    return st.one_of(plain, plain.map("sum by (host) ({})".format), st.tuples(plain, plain).map(" > ".join))
