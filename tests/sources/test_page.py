from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.labels import Labels
from engine.sources.page import PageError, PageLimits, PageReader

TARGET = {"instance": "a:1", "job": "web"}


def read(text: str | bytes, **limits: int) -> dict[str, float]:
    page = PageReader({}, PageLimits(**limits)).read(text if isinstance(text, bytes) else text.encode())
    return {str(labels): value for labels, value in zip(page.series, page.values, strict=True)}


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("a 1", {"a": 1}),
        ("a 1\n", {"a": 1}),
        ("a\t1\r\n", {"a": 1}),
        ("  a{}   1  \n\n", {"a": 1}),
        ("a{} 1\na2{ } 2", {"a": 1, "a2": 2}),
        ('a {b="c"} 1', {'a{b="c"}': 1}),
        ('a{b="c",} 1', {'a{b="c"}': 1}),
        ('a{ b = "c" , d="e" } -1.5e-3', {'a{b="c", d="e"}': -0.0015}),
        ('a{b="}"} 1', {'a{b="}"}': 1}),
        ('a{b="x y # z"} 1', {'a{b="x y # z"}': 1}),
        ('a{b="",c="d"} 1', {'a{c="d"}': 1}),
        (r'a{b="q\"b\\s\nn\x"} 1', {r'a{b="q\"b\\s\nn\\x"}': 1}),
        ("a:b_c9 +Inf\nb -Inf\nc inf", {"a:b_c9": math.inf, "b": -math.inf, "c": math.inf}),
        ("a 1 1395066363000", {"a": 1}),
        ('a{b="c"} 1 -3\na{b="d"} 2 1.5', {'a{b="c"}': 1, 'a{b="d"}': 2}),
        ('a_bucket{le="1"} 7 # {trace_id="x"} 0.67\nb 3 4 # {t="}"} 1 2\nc 1', {'a_bucket{le="1"}': 7, "b": 3, "c": 1}),
        ("# HELP a b\n#\n# TYPE a counter\n#no comment\na 1\n# EOF", {"a": 1}),
        ('{"my.metric","a.b"="c"} 1', {'my.metric{a.b="c"}': 1}),
        ('{"plain"} 2', {"plain": 2}),
        ("a 1\na 2\nb 3", {"a": 1, "b": 3}),
        ('a{x="1",y="2"} 1\na{y="2",x="1"} 2', {'a{x="1", y="2"}': 1}),
        ("", {}),
        ("\n\n", {}),
        ("ü 1".replace("ü", 'a{b="ü"}'), {'a{b="ü"}': 1}),
    ],
)
def test_a_page_is_read_as_prometheus_reads_it(text, series):
    assert read(text) == series


def test_nan_is_a_value():
    assert math.isnan(read("a NaN")["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "line 1: no value"),
        ("ok 1\na{} ", "line 2: no value"),
        ("a one", "line 1: not a number: 'one'"),
        ("a 1_000", "not a number"),
        ("a 1 soon", "not a number: 'soon'"),
        ("a 1 2 3", "more than a value and a timestamp"),
        ("a 0x10", "not a number"),
        ("a 1" + "0" * 100, "not a number"),
        ("9a 1", "no metric's name"),
        ("<html><body>404</body></html>", "no metric's name"),
        ('{b="c"} 1', "no metric's name"),
        ('a{b="c" 1', "not a label"),
        ('a{b="c} 1', "not a label"),
        ("a{b=c} 1", "not a label"),
        ("a{b} 1", "a label without a value"),
        ('a{"b"} 1', "a label without a value"),
        ('a{b="c",b="d"} 1', "label 'b' stands twice"),
        ('a{b="c",,} 1', "not a label"),
        ('a{,b="c"} 1', "not a label"),
        ("ä 1", "no metric's name"),
        ("a 1\n\0\1\2", "line 2: no metric's name"),
        (b'a 1\nb{c="\xff"} 1', "line 2: not UTF-8"),
        (b"\x1f\x8b\x08\x00\xff\xfe", "line 1: not UTF-8"),
    ],
)
def test_a_broken_page_is_refused_with_line_and_reason(text, message):
    with pytest.raises(PageError, match=message.replace("{", r"\{")):
        read(text)


@pytest.mark.parametrize(
    ("text", "limits", "message"),
    [
        ("a 1\n" * 3, {"bytes": 11}, "more than 11 bytes"),
        ("a 1\nb 1\nc 1", {"samples": 2}, "more than 2 samples"),
        ("#\n" * 2000, {"samples": 2}, "more than 1008 lines"),
        ('a{b="' + "x" * 100 + '"} 1', {"line": 100}, "line 1: longer than 100 characters"),
        ("a{" + ",".join(f'b{n}="c"' for n in range(9)) + "} 1", {"labels": 8}, "more than 8 labels"),
    ],
)
def test_a_page_beyond_a_limit_is_refused(text, limits, message):
    with pytest.raises(PageError, match=message):
        read(text, **limits)


def test_labels_of_the_target_win_and_the_pages_own_are_kept_as_exported():
    reader = PageReader(TARGET, PageLimits())
    page = reader.read(b'a{instance="x",job="y",exported_job="z"} 1\nb 2')
    assert page.series == (
        Labels(
            {"__name__": "a", **TARGET, "exported_instance": "x", "exported_exported_job": "y", "exported_job": "z"}
        ),
        Labels({"__name__": "b", **TARGET}),
    )


def test_a_steady_page_gives_the_identical_tuple_and_new_values():
    reader = PageReader(TARGET, PageLimits())
    first = reader.read(b'a{b="c"} 1\nd 2\n')
    again = reader.read(b'# HELP a\na{b="c"} 3\nd 4\n')
    late = reader.read(b'a{b="c"} 5 1000\nd 6 1000\n')
    other = reader.read(b'd 7\na{b="c"} 8\n')
    assert first.series is again.series is late.series
    assert (again.values, late.values) == ([3, 4], [5, 6])
    assert dict(zip(other.series, other.values, strict=True)) == {first.series[1]: 7, first.series[0]: 8}


@pytest.mark.parametrize("value", ["1_0", "x", "", "0x1", "9" * 65])
def test_a_known_line_is_checked_like_a_new_one(value):
    reader = PageReader(TARGET, PageLimits())
    reader.read(b"a 1\n")
    with pytest.raises(PageError, match="line 1"):
        reader.read(f"a {value}\n".encode())
    assert reader.read(b"a 2\n").values == [2]


def test_what_is_remembered_of_a_churning_page_is_bounded():
    reader = PageReader(TARGET, PageLimits())
    for number in range(300):
        reader.read("".join(f'a{{n="{number}",m="{m}"}} 1\n' for m in range(10)).encode())
    assert len(reader._known) <= 130


names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
label_names = st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(allow_nan=False) | st.integers(-(10**15), 10**15).map(float)
samples = st.lists(st.tuples(names, st.dictionaries(label_names, texts, max_size=3), numbers), max_size=12)


def written(name: str, labels: dict[str, str], value: float, pad: str) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    inner = f",{pad}".join(f'{label}{pad}={pad}"{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{pad}{inner}}}{pad or ' '}{value!r}"


@settings(deadline=None)
@given(st.lists(samples, min_size=1, max_size=4), st.sampled_from(["", " ", "\t", "  "]))
def test_what_is_written_is_read_whatever_was_read_before(pages, pad):
    reader = PageReader({}, PageLimits())
    for page in pages:
        text = "\n".join(written(*sample, pad) for sample in page)
        expected: dict[Labels, float] = {}
        for name, labels, value in page:
            expected.setdefault(Labels({"__name__": name, **labels}), value)
        for _ in range(2):
            got = reader.read(text.encode())
            assert dict(zip(got.series, got.values, strict=True)) == expected
            assert len(got.series) == len(expected)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.text(st.sampled_from('a{}="\\,# 1\n\tNe.+_-é'), max_size=30) | st.binary(max_size=20).map(repr), max_size=4
    )
)
def test_any_text_is_read_or_refused_and_a_reader_with_history_agrees_with_a_new_one(texts):
    def outcome(reader: PageReader, text: str) -> tuple[tuple[Labels, ...], str] | None:
        try:
            page = reader.read(text.encode())
        except PageError:
            return None
        return page.series, repr(page.values)

    reader = PageReader(TARGET, PageLimits())
    for text in texts + texts:
        assert outcome(reader, text) == outcome(PageReader(TARGET, PageLimits()), text)
