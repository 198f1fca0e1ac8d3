"""The runner of Prometheus's test files: what it reads, and that nothing in a file can stop it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promql_script import Script, Verdict, read_labels, read_values, split_series

from engine.promql.block import is_stale


def run(tmp_path: Path, text: str) -> list[Verdict]:
    path = tmp_path / "case.test"
    path.write_text(text, encoding="utf-8")
    return list(Script().run(path))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5 -3", [1, 2.5, -3]),
        ("0+10x3", [0, 10, 20, 30]),
        ("-2-1x2", [-2, -3, -4]),
        ("1e3+1e2x2", [1000, 1100, 1200]),
        ("1e-3x1", [0.001, 0.001]),
        (".5+.5x1", [0.5, 1]),
        ("7x2", [7, 7, 7]),
        ("0x2", [0, 0, 0]),
        ("0x1F 0x0", [31, 0]),
        ("_ _x2 5", [None, None, None, 5]),
        ("Inf -Inf +Inf", [math.inf, -math.inf, math.inf]),
        ("+Infx1", [math.inf, math.inf]),
    ],
)
def test_points_expand(text: str, values: list[float | None]) -> None:
    assert read_values(text) == values


def test_stale_markers_and_nan_are_told_apart() -> None:
    import numpy as np

    values = np.array(read_values("stale stalex1 NaN NaNx1"), np.float64)
    assert is_stale(values).tolist() == [True, True, True, False, False, False]
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("line", "name", "points"),
    [
        ("x 1 2", "x", "1 2"),
        ("x{a=\"b c\", d='}'} 1", "x{a=\"b c\", d='}'}", "1"),
        ("x {a=`\\`} 1", "x {a=`\\`}", "1"),
        ('{"x y", a="\\" {"} _ 1', '{"x y", a="\\" {"}', "_ 1"),
        ("x\t{{count:1}} 2", "x", "{{count:1}} 2"),
        ("x{} {{count:1}}", "x{}", "{{count:1}}"),
    ],
)
def test_a_line_is_a_series_and_its_points(line: str, name: str, points: str) -> None:
    assert split_series(line) == (name, points)


def test_names_may_be_anything() -> None:
    assert str(read_labels('{"a b", "c.d"="e"}')) == 'a b{c.d="e"}'
    assert read_labels("sum{by='on'}").get("__name__") == "sum"
    assert not read_labels("{}")


EVERYTHING = """
# Indented commands are commands, too.
  load   1m
    x{a="1"}  1 2 3
    {"y z"} 4x2
    native {{schema:0 count:1 sum:1}}
    began@st -1m
    began 0+1x3

  eval   instant   at   1m   x
    x{a="1"} 2

eval instant at 60 x
  expect no_warn
  expect no_info msg: nothing
  x{a="1"} 2

eval_ordered instant at 1m {"y z"}
  {"y z"} 4

eval instant at 1m 1 + 1
  2

eval instant at 1m scalar(x)
  {} 2

eval instant at 1m "a\\nb"
  expect string "a\\nb"

eval instant at 2m x[2m]
  expect range vector from 1m to 2m step 1m
  x{a="1"} 2 3

eval range from 0 to 2m step 1m x + 1
  {a="1"} 2 3 4

eval range from 0 to 2m step 1m 5
  5 5 5

eval_fail instant at 1m sum(
eval_fail instant at 1m topk(NaN, x)
  expected_fail_message Parameter value is NaN

eval instant at 1m topk(NaN, x)
expect fail regex:Parameter .* NaN

eval instant at 1m rate(native[5m])

eval instant at 1m rate(began[5m])

eval instant at 1m x >/ 5
  {} 1

load_with_nhcb 1m
  h_bucket{le="+Inf"} 1 2

eval instant at 1m histogram_quantile(0.5, h)

clear

eval instant at 1m x
"""


def test_every_kind_of_command_is_followed(tmp_path: Path) -> None:
    verdicts = run(tmp_path, EVERYTHING)
    assert [verdict for verdict in verdicts if verdict.outcome == "failed"] == []
    assert Counter(verdict.why for verdict in verdicts if verdict.outcome == "skipped") == {
        "native histograms": 3,
        "start timestamps": 1,
    }
    assert sum(verdict.outcome == "passed" for verdict in verdicts) == 13


@pytest.mark.parametrize(
    "text",
    [
        "eval instant at 1m 1\n  3",
        "eval instant at 1m 1",
        "eval instant at 1m 1\n  expect fail",
        "eval instant at 1m 1\n  expect wonders\n  1",
        "eval instant at soon 1\n  1",
        "eval range from 0 to 1m step 0 1\n  1",
        "eval range from 1m to 0 step 1m 1\n  1",
        "eval instant at 1m x[\n  1",
        'eval instant at 1m "a"\n  expect string a',
        "eval instant at 1m vector(1)\n  x{ 1",
        "evaluate everything",
        "load often\n  x 1",
        "load 1m\n  x 1x\n",
        "surprise",
    ],
)
def test_what_is_wrong_or_not_understood_is_one_failure(tmp_path: Path, text: str) -> None:
    verdicts = run(tmp_path, text + "\n\neval instant at 0 1\n  1\n")
    assert [verdict.outcome for verdict in verdicts] == ["failed", "passed"]
    assert verdicts[0].why


@given(st.lists(st.sampled_from(EVERYTHING.split(" ")) | st.text(max_size=5), max_size=60).map(" ".join))
@settings(max_examples=200, deadline=None)
def test_no_text_stops_the_runner(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("scripts") / "case.test"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert {verdict.outcome for verdict in Script().run(path)} <= {"passed", "failed", "skipped"}


def test_what_is_no_file_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "gone.test").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.test").mkdir()
    for name in ("gone.test", "folder.test"):
        verdicts = list(Script().run(tmp_path / name))
        assert [(verdict.outcome, "cannot be read" in verdict.why) for verdict in verdicts] == [("failed", True)]


def test_a_file_may_begin_with_a_byte_order_mark_and_end_its_lines_as_windows_does(tmp_path: Path) -> None:
    path = tmp_path / "case.test"
    path.write_bytes(b"\xef\xbb\xbfload 5m\r\n  a 1 2 3\r\n\r\neval instant at 5m a\r\n  a 2\r\n")
    assert [verdict.outcome for verdict in Script().run(path)] == ["passed"]


@pytest.mark.parametrize("points", ["1x1000000000", "_x9999999999", "stalex99999999", "1+1x10000000"])
def test_points_without_end_are_one_failure(tmp_path: Path, points: str) -> None:
    verdicts = run(tmp_path, f"load 5m\n  a {points}\neval instant at 5m 1\n  1\n")
    assert [verdict.outcome for verdict in verdicts] == ["failed", "passed"]
    assert "too many" in verdicts[0].why
