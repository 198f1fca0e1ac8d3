from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.labels import Labels
from engine.templates import (
    TemplateError,
    attributes,
    fill_annotation,
    foreign,
    names,
    render,
    render_annotation,
    render_pieces,
    render_text,
    render_tree,
)


@dataclass(frozen=True, slots=True)
class Thing:
    culprit: str
    score: float


VALUES = {
    "window": "30m",
    "count": 3,
    "share": 0.9,
    "flag": True,
    "nothing": None,
    "names": ("a", "b"),
    "fault": Thing("nginx", 0.5),
    "alert": {"name": "X", "labels": Labels({"items": "one", "job": "web"}), "value": 1.5},
}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("plain", "plain"),
        ("{{ count }}", 3),
        ("{{ share }}", 0.9),
        ("{{ flag }}", True),
        ("{{ nothing }}", None),
        ("{{ names }}", ("a", "b")),
        ("{{ names | join('-') }}", "a-b"),
        ("{{ window | seconds }}", 1800),
        ("{{ '1500ms' | seconds }}", 1.5),
        ("{{ 90 | seconds }}", 90),
        ("{{ 5400 | duration }}", "1h30m"),
        ("{{ (window | seconds * 2) | duration }}", "1h"),
        ("{{ count }} times", "3 times"),
        (" {{ count }}", " 3"),
        ("{{ fault.culprit }}", "nginx"),
        ("{{ fault }}", {"culprit": "nginx", "score": 0.5}),
        ("{{ alert.labels.items }}", "one"),
        ("{{ alert.labels['job'] }}", "web"),
        ("{{ alert.labels.gone | default('-') }}", "-"),
        ("{% if flag %}yes{% else %}no{% endif %}", "yes"),
        ("{{ 'a' if count > 2 else 'b' }}", "a"),
        ("{{ {'a': [1, {'b': names}]} }}", {"a": (1, {"b": ("a", "b")})}),
        ("{{ 1.26 | round(1) }}", 1.3),
    ],
)
def test_a_template_says_what_its_values_say(template: str, result: object) -> None:
    assert render(template, VALUES) == result


@pytest.mark.parametrize(
    ("template", "sentence", "line"),
    [
        ("{{ nope }}", "'nope' is undefined", 1),
        ("a\n{{ fault.nope }}", "there is no 'nope'", 2),
        ("{{ fault.culprit.upper }}", "upper", 1),
        ("{{ count", "unexpected end of template", 1),
        ("{{ count | no_such }}", "there is no filter 'no_such'", 1),
        ("{{ count | attr('real') }}", "there is no filter 'attr'", 1),
        ("{{ count.__class__ }}", "__class__", 1),
        ("{{ ''.join(names) }}", "nothing can be called", 1),
        ("{% for i in names %}{% endfor %}", "loops are not available", 1),
        ("{% set a = 1 %}", "variables cannot be set", 1),
        ("{% include 'x' %}", "cannot include", 1),
        ("{% macro m() %}{% endmacro %}", "macros are not available", 1),
        ("{{ 'a' * 1000000000 }}", "only numbers can be multiplied", 1),
        ("{{ '%999999999d' % 1 }}", "not formatted with %", 1),
        ("{{ 1 / 0 }}", "division by zero", 1),
        ("{{ 1 | round(-999999999) }}", "round takes 0 to 15 digits", 1),
        ("{{ window" + " | replace('', window)" * 9 + " }}", "would make more than", 1),
        ("{{ 'soon' | seconds }}", "'soon' is no duration", 1),
        ("x" * 20_000 + "{{ count }}", "longer than", 1),
    ],
)
def test_what_is_wrong_with_a_template_is_said_with_its_line(template: str, sentence: str, line: int) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, VALUES)
    assert sentence in caught.value.message
    assert caught.value.line == line


def test_large_powers_end_at_once() -> None:
    with pytest.raises(TemplateError):
        render("{{ 9 ** 9 ** 9 ** 9 }}", {})


@given(st.text())
def test_a_value_is_never_itself_a_template(text: str) -> None:
    assert render("{{ value }}", {"value": text + "{{ 1 + 1 }}"}) == text + "{{ 1 + 1 }}"
    assert render("<{{ value }}>", {"value": text}) == f"<{text}>"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(alphabet="ab 1"),
        lambda below: st.lists(below).map(tuple) | st.dictionaries(st.text(alphabet="xy"), below),
    )
)
def test_what_has_no_braces_is_rendered_as_it_is(value: object) -> None:
    assert render_tree(value, {}) == value  # type: ignore[arg-type]


def test_a_tree_is_rendered_below_its_keys() -> None:
    tree = {"{{ count }}": ("{{ count }}", {"x": "{{ window }}"}, 5)}
    assert render_tree(tree, VALUES) == {"{{ count }}": (3, {"x": "30m"}, 5)}


def test_a_number_stands_in_a_text_as_it_is_written() -> None:
    assert render_text("{{ flag }}", VALUES) == "true"
    assert render_text("{{ share }}", VALUES) == "0.9"
    with pytest.raises(TemplateError, match="a list cannot stand in a text"):
        render_text("{{ names }}", VALUES)


def test_the_names_that_a_template_needs_are_known_before_it_is_rendered() -> None:
    assert names("{{ a.b | default(c) }} {{ d }}") == {"a", "c", "d"}
    assert attributes("{{ fault.culprit }} {{ x }} {{ host['y'] }}") == {("fault", "culprit")}
    assert names("no braces { at all }") == set()


@given(st.lists(st.sampled_from(["abc", "{{ window }}", "{{ count }}", " + ", "x[", "]"]), max_size=8))
def test_every_character_of_the_result_knows_where_it_comes_from(parts: list[str]) -> None:
    template = "".join(parts)
    rendered = render_pieces(template, VALUES)
    assert rendered.text == template.replace("{{ window }}", "30m").replace("{{ count }}", "3")
    for offset, character in enumerate(rendered.text):
        source = rendered.source(offset)
        assert template[source] == ("{" if rendered.filled(offset) is not None else character)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ $value }}", "1234567"),
        ("{{ $value | humanize }}", "1.235M"),
        ("{{ $value | humanize1024 }}B", "1.177MiB"),
        ("{{ humanizeDuration $value }}", "14d 6h 56m 7s"),
        ('{{ printf "%.1f" $value }}', "1234567.0"),
        ('{{ $value | printf "%.2e" }}', "1.23e+06"),
        ('{{ printf "%s is %d%%" $labels.instance 3 }}', "web-1 is 3%"),
        ("{{ $labels.instance }}:{{ $labels.gone }}", "web-1:"),
        ('{{ index $labels "instance" | toUpper }}', "WEB-1"),
        ("{{ .Labels.instance }} {{ .Value | humanize }}", "web-1 1.235M"),
        ("{{- $labels.instance -}}", "web-1"),
        ("{{ ($labels.instance) }}", "web-1"),
        ("{{ stripPort $labels.address }}", "10.0.0.1"),
        ("{{ query `up` }}", "{{ query `up` }}"),
        ("{{ $labels.braces }}", "{{ $value }}"),
        ("{{ $labels.instance | humanize }}", "{{ $labels.instance | humanize }}"),
        ("no braces", "no braces"),
    ],
)
def test_an_annotation_is_filled_in_as_prometheus_does(text: str, result: str) -> None:
    labels = {"instance": "web-1", "braces": "{{ $value }}", "address": "10.0.0.1:9100"}
    assert render_annotation(text, labels, 1_234_567.0) == result


@pytest.mark.parametrize(
    ("number", "plain", "human", "percent", "duration"),
    [
        (0.0, "0", "0", "0%", "0s"),
        (0.934, "0.934", "934m", "93.4%", "934ms"),
        (1.0, "1", "1", "100%", "1s"),
        (999.0, "999", "999", "9.99e+04%", "16m 39s"),
        (1000.0, "1000", "1k", "1e+05%", "16m 40s"),
        (-0.002, "-0.002", "-2m", "-0.2%", "-2ms"),
        (93_784.0, "93784", "93.78k", "9.378e+06%", "1d 2h 3m 4s"),
        (math.inf, "+Inf", "+Inf", "+Inf%", "+Inf"),
    ],
)
def test_numbers_are_written_for_people(number: float, plain: str, human: str, percent: str, duration: str) -> None:
    written = [
        render_annotation(text, {}, number)
        for text in (
            "{{ $value }}",
            "{{ $value | humanize }}",
            "{{ $value | humanizePercentage }}",
            "{{ $value | humanizeDuration }}",
        )
    ]
    assert written == [plain, human, percent, duration]


def test_what_belongs_to_an_alert_waits_and_the_rest_is_filled_in() -> None:
    text = "{{ $labels.instance }} for {{ window }}: {{ $value | humanize }}"
    assert foreign(text)
    assert fill_annotation(text, VALUES) == "{{ $labels.instance }} for 30m: {{ $value | humanize }}"
    assert not foreign("{{ window }}")


@pytest.mark.parametrize(
    "text",
    [
        "{{ $value | nope }}",
        "{{ $value + }}",
        '{{ printf "%s" }}{{ $value | printf }}',
        "{{ $value | humanize $value }}",
        "{{ ($value }}",
        "{{ $value | 3 }}",
    ],
)
def test_an_annotation_that_could_not_be_filled_in_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(TemplateError):
        fill_annotation(text, {})


@given(st.text(alphabet='{}$|() "`%.valuelabels0', max_size=40), st.floats())
def test_an_annotation_always_has_a_text(text: str, value: float) -> None:
    assert isinstance(render_annotation("{{ $value }}" + text, {"x": text}, value), str)
