from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.executor.journal import LARGEST, LONGEST_TEXT, Journal, Reader, printable, shortened
from engine.executor.scrub import Scrubber


def test_what_is_written_is_read_in_order_from_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = Reader(path)
    assert reader.after(0) == ()
    with Journal(path, Scrubber()) as journal:
        for number in range(1, 8):
            journal.write("ok", step=1, host="h", task=f"t{number}", data={"hosts": ["a"]})
        assert [event.number for event in reader.after(0, 3)] == [1, 2, 3]
        assert [event.number for event in reader.after(3, 3)] == [4, 5, 6]
        assert [event.number for event in reader.after(6)] == [7]
        assert reader.after(7) == ()
        journal.write("ok", task="late")
        assert [event.task for event in reader.after(7)] == ["late"]
    assert [event.number for event in reader.after(0)] == list(range(1, 9))
    assert Reader(path).after(2)[0].data == {"hosts": ("a",)}


def test_a_line_that_is_not_finished_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path, Scrubber()) as journal:
        journal.write("ok")
        journal.write("ok")
    whole = path.read_bytes()
    reader = Reader(path)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert len(reader.after(0)) == whole[:size].count(b"\n")
    path.write_bytes(b"torn {\n\xff\n[]\n" + whole)
    assert [event.number for event in reader.after(0)] == [1, 2]


def test_a_journal_stays_small_and_still_says_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path, Scrubber()) as journal:
        for _ in range(1000):
            journal.write("ok", text="x" * 20_000)
        journal.write("failed", text="the end " * 10_000)
        journal.write("step_ended", text="failed on one")
    assert path.stat().st_size < LARGEST + (64 << 10)
    events = Reader(path).after(0)
    assert [event.kind for event in events[-3:]] == ["message", "failed", "step_ended"]
    assert "output was cut" in events[-3].text
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert sum("output was cut" in event.text for event in events) == 1


@given(st.text(st.characters()))
def test_anything_becomes_printable(text: str) -> None:
    safe = printable(text)
    assert safe.encode("utf-8").decode("utf-8") == safe
    assert not [letter for letter in safe if letter < " " and letter not in "\n\t"]
    assert printable(safe) == safe


def test_a_terminal_is_not_told_what_to_do() -> None:
    assert printable("\x1b[31mred\x1b[0m \x1b]0;title\x07x\r\n\x00\u202e") == "red x\n\ufffd\ufffd"


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=300), st.integers(60, 200))
def test_a_shortened_text_fits_and_a_short_one_is_left_alone(text: str, longest: int) -> None:
    short = shortened(text, longest)
    assert len(short.encode()) <= longest
    if len(text.encode()) <= longest:
        assert short == text


def test_a_secret_is_hidden_before_the_text_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    secret = "s3cr3t" * 20
    scrubber = Scrubber()
    with Journal(path, scrubber) as journal:
        scrubber.learn([secret])
        for shift in range(0, LONGEST_TEXT + 200, 50):
            journal.write("ok", host=secret, task=secret, text="x" * shift + secret, data={"name": secret})
    assert b"s3cr" not in path.read_bytes()
    assert json.loads(path.read_text().splitlines()[0])["host"] == "********"
