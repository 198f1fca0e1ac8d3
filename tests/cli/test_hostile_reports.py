"""What `mendbook report` makes of hostile names, full disks, and files in its way: text stays text, and nothing that was there is lost."""

from __future__ import annotations

import json
import math
import re
import resource
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.app.coverage import Coverage
from engine.model.incident import Outcome
from tests.cli.cli_history import DAY, Months, months
from tests.cli.cli_project import Project

NAMES = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</svg><svg onload=alert(1)>",
    "\x1b]0;own\x07\x1b[31mred",
    "a\nb\r\n| c | d",
    "{{ 7*7 }}",
    "x" * 3000,
    "[link](javascript:alert(1))",
    "\u202egnp.exe",
    "</style></title><script>",
)


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.fixture
def hostile(project: Project) -> Project:
    now = time.time()
    with project.record as record:
        own = Months(record, now)
        for number, name in enumerate(NAMES):
            for back in range(4):
                at = now - (back + 1) * 3 * DAY - number * 3000
                outcome = Outcome.RESOLVED if back % 2 else Outcome.INEFFECTIVE
                own.fault(at, name, name, runbook=name, culprit=name, remedy=name, outcome=outcome)
                own.held(at, name, name, name, name)
            own.prevention(now - 5 * DAY, name, name, name, name)
        own.write()
    return project


def test_hostile_names_are_text_on_the_page(hostile: Project) -> None:
    assert hostile.run("report", "--html", "page.html").code == 0

    page = Tags((hostile.root / "page.html").read_text(encoding="utf-8"))
    assert not page.tags & {"script", "img", "iframe", "a", "object", "link"}
    assert not any(name.startswith("on") or name in {"src", "href"} for name in page.attributes)


def test_hostile_names_steer_no_terminal_and_leave_room_for_what_is_said_of_them(hostile: Project) -> None:
    for form in ("table", "markdown", "json", "yaml"):
        shown = hostile.run("report", "-o", form)
        assert shown.code == 0
        assert not {"\x1b", "\x07", "\u202e", "\r"} & set(shown.out), form
    monthly = re.findall(r"\d+\.\d \(.*", hostile.run("report").out)
    assert monthly
    assert not any("…" in each.partition(")")[0] for each in monthly)


def test_markdown_shows_hostile_names_in_one_cell_each(hostile: Project) -> None:
    rows = [row for row in hostile.run("report", "-o", "markdown").out.splitlines() if row.startswith("| ")]

    assert any("\\<script" in row for row in rows)
    assert not any("<script" in row.replace("\\<", "") for row in rows)
    assert not any("](javascript" in row.replace("\\]", "") for row in rows)


def test_a_page_that_does_not_fit_on_the_disk_leaves_the_old_one(hostile: Project) -> None:
    hostile.write("page.html", "the page of last month")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        result = hostile.run("report", "--html", "page.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert result.code == 1
    assert "File too large" in result.err
    assert (hostile.root / "page.html").read_text() == "the page of last month"
    assert not list(hostile.root.glob(".page*"))


def test_a_page_through_a_link_keeps_the_link_and_its_mode(hostile: Project) -> None:
    there = hostile.write("www/real.html", "old")
    there.chmod(0o640)
    (hostile.root / "page.html").symlink_to(there)

    assert hostile.run("report", "--html", "page.html").code == 0

    assert (hostile.root / "page.html").is_symlink()
    assert there.read_text().startswith("<!doctype html>")
    assert there.stat().st_mode & 0o777 == 0o640


def test_advice_leaves_a_file_that_is_no_text_as_it_was(project: Project) -> None:
    with project.record as record:
        months(record, time.time())
    assert project.run("report", "--advice", "review").code == 0
    drafts = list((project.root / "review").iterdir())
    assert drafts
    for each in drafts:
        each.write_bytes(b"\xff\xfe\x00")

    again = project.run("report", "--advice", "review")

    assert again.code == 0
    assert "is there already and was left as it is" in again.err
    assert all(each.read_bytes() == b"\xff\xfe\x00" for each in drafts)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"since": 1e999, "days": {}}',
        b'{"since": -5, "days": {}}',
        b'{"since": 1, "days": {"web-1": {"20000": NaN}}}',
        b'{"since": 1, "days": {"web-1": {"20000": -86400}}}',
        b'{"since": 1, "days": {"web-1": {"20000": 1' + b"0" * 400 + b"}}}",
        b'{"since": null, "days": [1]}',
    ],
)
def test_a_file_of_coverage_that_cannot_be_meant_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "coverage.json").write_bytes(content)

    found = Coverage.read(tmp_path / "coverage.json")

    assert (found.since, found.days) == (None, {})


def test_a_full_disk_leaves_the_coverage_that_was_written_before(tmp_path: Path) -> None:
    path, kept = tmp_path / "coverage.json", Coverage()
    kept.add(["web-1"], 20_000 * DAY, 300.0)
    kept.write(path)
    kept.add([f"web-{number}" for number in range(500)], 20_000 * DAY, 300.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            kept.write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(Coverage.read(path).days) == ["web-1"]
    assert [each.name for each in tmp_path.iterdir()] == ["coverage.json"]
    assert math.isfinite(json.loads(path.read_text())["since"])
