"""What can be asked of an expression without data."""

from __future__ import annotations

import pytest

from engine.promql import (
    Comparison,
    Matcher,
    MatchOperator,
    bind,
    comparisons,
    experimental,
    format_expression,
    longest_range,
    parse,
    selectors,
    unsupported,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cpu > 90", [("cpu", ">", "90")]),
        (
            "(cpu / 2) >= bool (1+1) and (disk < 10 or net != 3)",
            [("cpu / 2", ">=", "1 + 1"), ("disk", "<", "10"), ("net", "!=", "3", "or")],
        ),
        ("cpu > 90 unless on (job) down == 1", [("cpu", ">", "90"), ("down", "==", "1", "unless")]),
        ("50 < cpu < 90", [("50 < cpu", "<", "90")]),
        ("sum(cpu > 90)", []),
        ("cpu", []),
    ],
)
def test_comparisons_are_found_through_and_or_and_unless(text: str, found: list[tuple[str, ...]]) -> None:
    assert comparisons(parse(text)) == tuple(Comparison(*each) for each in found)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("cpu", 'cpu{instance="a"}'),
        ('cpu{mode="idle"}[5m] offset 1h', 'cpu{mode="idle", instance="a"}[5m] offset 1h'),
        (
            "sum by (job) (rate(cpu[5m:1m])) > 2 * -x",
            'sum by (job) (rate(cpu{instance="a"}[5m:1m])) > 2 * -x{instance="a"}',
        ),
        ("topk(scalar(k), cpu)", 'topk(scalar(k{instance="a"}), cpu{instance="a"})'),
        ('cpu{instance="a"}', 'cpu{instance="a"}'),
        ("time()", "time()"),
    ],
)
def test_binding_reaches_every_selector(text: str, bound: str) -> None:
    assert format_expression(bind(parse(text), [Matcher("instance", MatchOperator.EQUAL, "a")])) == bound


def test_a_bound_value_stays_inside_its_quotes() -> None:
    hostile = '"} or vector(1) #\n\\'
    bound = bind(parse("cpu > 1"), [Matcher("instance", MatchOperator.EQUAL, hostile)])
    assert format_expression(bound) == 'cpu{instance="\\"} or vector(1) #\\n\\\\"} > 1'
    assert parse(format_expression(bound)) == bound


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("cpu", 0),
        ("1", 0),
        ("rate(cpu[5m])", 300),
        ("cpu offset 1d", 86_400),
        ("rate(cpu[5m] offset 1h)", 3_900),
        ("rate(cpu[5m] offset -1h)", 0),
        ("max_over_time(rate(cpu[5m])[1h:] offset 1d)", 86_400 + 3_600 + 300),
        ("rate(cpu[5m]) > avg_over_time(cpu[30m])", 1_800),
        ("absent_over_time(cpu[2h])", 7_200),
        ("cpu @ 10", 0),
    ],
)
def test_the_longest_reach_back_is_known(text: str, seconds: float) -> None:
    assert longest_range(parse(text)) == seconds


def test_selectors_say_what_they_read() -> None:
    text = 'rate(cpu{mode="idle"}[5m] offset 1h) > 1 unless absent(max_over_time(disk[1h:1m])) or net @ 5'
    cpu, disk, net = selectors(parse(text))
    assert [matcher.name for matcher in cpu.matchers] == ["__name__", "mode"]
    assert (cpu.range, cpu.reach, cpu.offset, cpu.needed) == (300_000, 300_000, 3_600_000, True)
    assert cpu.text == 'cpu{mode="idle"}[5m] offset 1h'
    assert text[slice(*cpu.span)] == cpu.text
    assert (disk.range, disk.reach, disk.needed) == (None, 3_600_000, False)
    assert (net.at, net.needed) == (5_000, True)


def test_what_cannot_be_evaluated_here_is_known_beforehand() -> None:
    text = "histogram_avg(x) > 1 and info(y)"
    first, second = unsupported(parse(text))
    assert "native histograms" in first.message
    assert text[slice(*second.span)] == "info(y)"
    assert unsupported(parse("histogram_quantile(0.9, x)")) == ()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("mad_over_time(x[5m])", 1),
        ("limitk(1, x) + limit_ratio(0.5, x)", 2),
        ("x[5m * step()]", 1),
        ("x[5m:step()] offset (2 * step())", 2),
        ("first_over_time(x[5m]) > step()", 2),
        ("rate(x[5m]) > 0 and topk(1, x)", 0),
    ],
)
def test_what_a_stock_server_refuses_is_known(text: str, count: int) -> None:
    assert len(experimental(parse(text))) == count
