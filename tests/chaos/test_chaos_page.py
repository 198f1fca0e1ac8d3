"""What people look at: the page is complete in itself, says the numbers, and lets no text become markup; the figures add up."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chaos.drawing import large, place_labels, scale_of, seconds, small
from engine.chaos.experiment import Ending
from engine.chaos.figures import figures, proofs, times
from engine.chaos.page import page
from engine.chaos.result import Found, Harm, Mark, Result
from engine.chaos.scorecard import Card, Quiet
from engine.report.sheet import span

FOUND = Found(
    "killed", "process", "web1", "service", "ledger.service", Ending.HEALED, Ending.HEALED, 60.0, 4.0, 5.0, first=True, third=True,
    concluded="service of web1, ledger.service", recovered=12.0, verified=20.0, runbooks=("service-down",), digests=("d1",),
)  # fmt: skip
MARKS = (
    Mark(0.0, "injection", "process", "web1"),
    Mark(1.0, "outside", "ill", "web1", good=False),
    Mark(4.0, "alert", "ServiceDown on web1", "web1", good=False),
    Mark(4.5, "incident", "service of web1", "web1"),
    Mark(5.0, "decision", "held: <b>grace</b>", "web1"),
    Mark(6.0, "decision", "run", "web1", good=True),
    Mark(6.5, "run", "Restart it: service_restart.yml (successful)", "web1", 11.0, good=True),
    Mark(12.0, "outside", "well", "web1", good=True),
    Mark(20.0, "verified", "pass", "web1", good=True),
    Mark(50.0, "undo", "process", "web1"),
)
RESULT = Result(
    "service-killed", "The ledger is killed", "abc", "0.1.0", "c0ffee", 1_795_414_000.0, 0, 1, 70.0, (FOUND,),
    Harm(1000, 30, 970, 0, wrong_total=False), timeline=MARKS, traffic=tuple((float(at), 18, 2 if 0 < at < 10 else 0) for at in range(-3, 50)),
    surroundings={"cpus": "2", "load": "1.0"},
)  # fmt: skip
WRONG = replace(
    RESULT,
    repeat=2,
    at=RESULT.at + 100,
    found=(replace(FOUND, ending=Ending.ESCALATED, recovered=None, verified=None),),
)


class Tags(HTMLParser):
    """Reads a page, and fails on elements that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_the_page_is_complete_in_itself_and_well_formed() -> None:
    text = page(
        Card((RESULT, WRONG), (Quiet("0.1.0", "c", 1.0, 3600.0, (), (), 72_000, 0, (20, 60), 0, wrong_total=False),))
    )
    tags = read(text)
    assert all(link.startswith("#") for link in tags.links)
    assert not {"script", "link", "img", "iframe"} & tags.seen
    assert not re.search(r"https?://|url\(|@import", text)
    for link in tags.links:
        assert f'id="{link[1:]}"' in text


def test_the_page_says_what_came_of_it() -> None:
    text = page(Card((RESULT, WRONG)))
    assert "<h1>1 of 2 drills passed</h1>" in text
    assert "service of web1: escalated, expected healed" in text
    assert "service_restart.yml" in text
    assert "ill for 11s" in page(Card((RESULT,)))
    assert "Every fault was healed" in page(Card((RESULT,)))


def test_a_scorecard_without_drills_says_how_to_run_one() -> None:
    assert "mendbook drill run --all" in page(Card())
    read(page(Card()))


@given(
    st.text(max_size=60),
    st.floats(-5, 1e5),
    st.sampled_from(["alert", "incident", "decision", "run", "verified", "outside", "undo", "operator"]),
)
def test_no_text_becomes_markup_and_nothing_is_drawn_beside_the_paper(text: str, at: float, kind: str) -> None:
    marks = (*MARKS, Mark(at, kind, text, text, None, good=False))
    result = replace(RESULT, experiment=f"x{text}", summary=text, timeline=marks)
    shown = read(page(Card((result, replace(result, repeat=2)))))
    assert "script" not in shown.seen
    for drawn in (large(result, scale_of([result])), small(result, scale_of([result]))):
        for number in re.findall(r'(?<![A-Za-z])(?:x|y|x1|x2|y1|y2|cx|cy|width|height)="([^"]+)"', drawn):
            assert -20 <= float(number) <= 1e4


def test_labels_of_one_row_do_not_run_into_each_other() -> None:
    scale = scale_of([RESULT])
    said = [(Mark(float(at), "incident", "x", "web1"), "some words here") for at in range(0, 50, 2)]
    rows: dict[int, float] = {}
    for mark, row, words in place_labels(said, scale):
        assert scale.x(mark.at) > rows.get(row, -1.0)
        rows[row] = scale.x(mark.at) + len(words) * 6


def test_figures_add_up() -> None:
    total = figures((RESULT, WRONG))
    assert (total.drills, total.passed, total.first, total.named, total.lost, total.failed) == (2, 1, 2, 2, 0, 60)
    assert (total.recovered.count, total.recovered.median, total.detected.worst) == (1, 12.0, 4.0)
    assert figures((replace(RESULT, harm=Harm(lost=None)),)).unknown == 1
    assert times([None, None]).median is None


def test_a_runbook_is_proved_by_the_last_drill_that_passed() -> None:
    (proof,) = proofs((RESULT, WRONG))
    assert (proof.runbook, proof.at, proof.experiments, proof.passed, proof.drills, proof.digest) == (
        "service-down", RESULT.at, ("service-killed",), 1, 2, "d1",
    )  # fmt: skip
    assert proofs((WRONG,)) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (4.21, "4.2 s"), (45.0, "45 s"), (150.0, "2:30 min"), (3600.0, "1 h"), (5400.0, "1.5 h")],
)
def test_spans_read_well(value: float | None, text: str) -> None:
    assert span(value) == text


def test_moments_of_the_axis_read_well() -> None:
    assert [seconds(at) for at in (0, 45, 120, 150)] == ["0s", "45s", "2:00", "2:30"]
