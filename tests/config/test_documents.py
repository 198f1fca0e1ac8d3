from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.config.document import LARGEST_FILE, parse_document, read_document
from engine.config.errors import ConfigError, Problem, Severity, did_you_mean, in_order
from engine.model.runbook import Place

TEXTS = st.text(alphabet="ab1 :'\"\\\n{}#-é漢", min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("+4", 4),
        ("0", 0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("2.5e-1", 0.25),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("1:30", "1:30"),
        ("0x60", "0x60"),
        ("017", "017"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("1e999", "1e999"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("!!int 1", 1),
        ("!!float 1", 1.0),
        ("[1, {a: b}]", (1, {"a": "b"})),
    ],
)
def test_a_scalar_means_what_it_looks_like(written: str, value: object) -> None:
    document = parse_document("f.yml", f"key: {written}\n")
    assert document.data == {"key": value}
    assert not [problem for problem in document.problems if problem.severity is Severity.ERROR]


@pytest.mark.parametrize("written", ["yes", "off", "1:30", "0x60", "017", "0b11", "1_000", ".inf"])
def test_what_yaml_11_takes_for_something_else_is_remarked_upon_unless_it_is_quoted(written: str) -> None:
    (problem,) = parse_document("f.yml", f"key: {written}\n").problems
    assert (problem.code, problem.severity) == ("yaml-trap", Severity.WARNING)
    assert problem.place == Place("f.yml", 1, 6)
    assert parse_document("f.yml", f"key: '{written}'\n").problems == ()


def test_of_two_equal_keys_both_places_are_told_also_deep_inside() -> None:
    document = parse_document("f.yml", "a:\n  - {b: 1, c: 2, b: 3}\n")
    (problem,) = document.problems
    assert problem.code == "duplicate-key"
    assert problem.place == Place("f.yml", 2, 18)
    assert "f.yml:2:6" in problem.message
    assert document.data == {"a": ({"b": 1, "c": 2},)}


def test_merged_keys_yield_to_those_that_are_written() -> None:
    document = parse_document("f.yml", "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\n")
    assert document.data["c"] == {"x": 1, "y": 1, "z": 3}
    assert document.problems == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: *b\n", "bad-alias"),
        ("a: &a [*a]\n", "bad-alias"),
        ("a: " + "[" * 50 + "]" * 50 + "\n", "too-deep"),
        ("a: " + "[" * 200_000, "too-deep"),
        ("a: " + "x, " * 10 + "\n" + "".join(f"k{number}: 1\n" for number in range(21_000)), "too-large"),
        ("a: \x01\n", "bad-yaml"),
        ("a: 1\n---\nb: 2\n", "second-document"),
        ("a: !!python/object/apply:os.system [ls]\n", "bad-tag"),
        ("a: !Ref x\n", "bad-tag"),
        ("!x {a: b}\n", "bad-tag"),
        ("5\n", "wrong-type"),
        ("# nothing\n", "empty"),
        ("? {a: b}\n: c\n", "wrong-type"),
        ("a: 'x\n", "bad-yaml"),
        ("a: @x\n", "bad-yaml"),
        ("a: %x\n", "bad-yaml"),
    ],
)
def test_what_is_no_sound_yaml_is_refused_with_a_place(text: str, code: str) -> None:
    problems = parse_document("f.yml", text).problems
    assert [problem.code for problem in problems] == [code]
    assert problems[0].place is not None


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert read_document(tmp_path / "gone.yml").problems[0].message == "No such file or directory"
    assert read_document(tmp_path).problems[0].message == "this is not a regular file"
    os.mkfifo(tmp_path / "pipe.yml")
    assert read_document(tmp_path / "pipe.yml").problems[0].message == "this is not a regular file"
    (tmp_path / "large.yml").write_bytes(b"#" * (LARGEST_FILE + 1))
    assert read_document(tmp_path / "large.yml").problems[0].code == "too-large"
    (tmp_path / "latin.yml").write_bytes("ä: ü\nb: é\n".encode() + b"c: \xfc\n")
    problem = read_document(tmp_path / "latin.yml").problems[0]
    assert problem.code == "not-utf-8"
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (3, 4)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "marked.yml").write_bytes("a: 1\r\nb: 2\r\n".encode("utf-8-sig"))
    document = read_document(tmp_path / "marked.yml")
    assert document.data == {"a": 1, "b": 2}
    assert document.place(("b",), at_key=True).line == 2


@given(TEXTS, st.sampled_from(["'", '"', "|", ">", None]), st.integers(8, 60))
def test_every_character_of_a_text_is_found_where_it_stands(text: str, style: str | None, width: int) -> None:
    written = yaml.dump({"a": {"key": text}}, default_style=style, allow_unicode=True, width=width)
    document = parse_document("f.yml", written)
    path = ("a", "key")
    assert document.data == {"a": {"key": text}}
    places = [document.index(path, offset=offset) for offset in range(len(text))]
    assert places == sorted(places)
    for place, character in zip(places, text, strict=True):
        if not character.isspace():
            assert written[place] in (character, "\\")


def test_a_place_is_the_nearest_part_of_a_path_that_there_is() -> None:
    document = parse_document("f.yml", "a:\n  b: [1, 2]\n")
    assert str(document.place(("a", "b", 1))) == "f.yml:2:10"
    assert str(document.place(("a", "b", 7))) == "f.yml:2:6"
    assert str(document.place(("a", "b"), at_key=True)) == "f.yml:2:3"
    assert str(document.place(("a", "gone", "more"))) == "f.yml:2:3"


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    problem = Problem(
        "unknown-key", "'remedys'", Place("runbooks/disk-full.yml", 14, 1), "remedys:", fix="did you mean 'remedies'?"
    )
    assert str(problem) == (
        "[ERROR] unknown-key: 'remedys'; did you mean 'remedies'?\n"
        "Origin: runbooks/disk-full.yml:14:1\n"
        "14 remedys:\n"
        "   ^"
    )


def test_a_caret_stands_below_wide_characters_and_in_long_lines() -> None:
    wide = str(Problem("c", "m", Place("f", 1, 4), "漢字: x", width=1)).splitlines()
    assert wide[-2:] == ["1 漢字: x", "       ^"]
    long = str(Problem("c", "m", Place("f", 9, 501), "a" * 500 + "HERE" + "b" * 500, width=4)).splitlines()
    assert len(long[-2]) < 160
    assert long[-2].index("HERE") == long[-1].index("^^^^")


def test_all_problems_are_told_in_the_order_of_the_files() -> None:
    later, sooner = Problem("b", "two", Place("f", 2, 1)), Problem("a", "one", Place("f", 1, 5))
    error = ConfigError(in_order([later, sooner, later]))
    assert error.problems == (sooner, later)
    assert str(error).index("one") < str(error).index("two")


def test_a_fix_is_the_closest_word_that_there_is() -> None:
    assert did_you_mean("remedys", ["remedies", "runbook"]) == "did you mean 'remedies'?"
    assert did_you_mean("max-attempts", ["max_attempts"]) == "did you mean 'max_attempts'?"
    assert did_you_mean("xyz", ["remedies"]) is None
