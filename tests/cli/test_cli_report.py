"""The report tells of a period, what does not work first, in whatever form is asked for, and changes nothing."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.records.store import Record
from engine.report.plots import days
from tests.cli.cli_history import DAY, Months, months
from tests.cli.cli_project import Project

HOSTS = "all: {hosts: {web-1: {}, web-2: {}, web-3: {}, db-1: {}, db-2: {}, store-1: {}}}\n"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with four months in its record, and the shipped runbooks."""
    root = tmp_path_factory.mktemp("lived")
    (root / "mendbook.yml").write_text("sources: {host: false}\n")
    (root / "inventory").mkdir()
    (root / "inventory" / "hosts.yml").write_text(HOSTS)
    with Record(root / ".mendbook" / "record.sqlite3") as record:
        months(record, time.time())
    return root


@pytest.fixture
def old(lived: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with four months: not to be changed."""
    return Project(lived, capsys, monkeypatch)


class Page(HTMLParser):
    """What a page fetches, whether its elements close, and its text."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag in ("script", "link", "iframe", "object", "embed"):
            self.fetched.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_an_empty_record_is_said_to_be_empty(project: Project) -> None:
    result = project.run("report")
    assert result.code == 0
    assert result.out == "The record is empty: no engine has written to it yet.\n"


def test_an_empty_record_makes_a_page_and_markdown_that_say_so(project: Project) -> None:
    result = project.run("report", "--html", "report.html", "-o", "markdown")
    assert "The record is empty" in result.out
    assert "The record is empty" in Page((project.root / "report.html").read_text()).text


def test_a_time_in_which_nothing_happened_is_said_to_be_quiet(past: Project) -> None:
    assert past.run("report", "--since", "1m").out == (
        "Nothing happened in the last 60 s: no fault, no remedy, nothing held.\n"
    )


def test_what_happened_in_a_small_record_is_told(past: Project) -> None:
    result = past.run("report")
    past.golden("report", result)
    assert "2 faults in the last 30 days" in result.out


def test_what_does_not_work_stands_first(old: Project) -> None:
    out = old.run("report").out
    heads = re.findall(
        r"^(Does not work|Preventions|What came back|Remedies|Guards that held|Advice)", out, re.MULTILINE
    )
    assert heads == ["Does not work", "Preventions", "What came back", "Remedies", "Guards that held", "Advice"]
    first = out.split("Does not work")[1].split("Preventions")[0]
    assert first.index("cpu-limit on db-1") < first.index("service-hung: Restart it") < first.index("memory-limit on")


def test_each_prevention_is_called_what_it_is(old: Project) -> None:
    found = json.loads(old.run("report", "-o", "json").out)
    effects = {each["runbook"]: each["effect"] for each in found["preventions"]}
    assert effects == {
        "cpu-limit": "harmful",
        "memory-limit": "no effect seen",
        "inodes-fill-soon": "too early",
        "disk-fills-soon": "works",
    }
    assert found["prevented"]["works"] == 1


def test_programs_get_the_measures(old: Project) -> None:
    found = json.loads(old.run("report", "-o", "json").out)
    assert found["measures"]["detect"]["median"] == 60.0
    assert found["measures"]["localize"]["median"] == 1.0
    assert found["measures"]["recover"]["median"] == 300.0
    (disk,) = [each for each in found["recurring"] if (each["target"], each["resource"]) == ("store-1", "disk")]
    assert disk["interval"]["low"] < disk["rate"] < disk["interval"]["high"]
    assert disk["habits"][0]["what"] == "hour"


@pytest.mark.parametrize("output", ["jsonl", "yaml"])
def test_programs_may_ask_for_other_forms(old: Project, output: str) -> None:
    assert "disk-fills-soon" in old.run("report", "-o", output).out


def test_markdown_tells_the_same_in_the_same_order(old: Project) -> None:
    out = old.run("report", "-o", "markdown").out
    assert re.findall(r"^## (.*)", out, re.MULTILINE) == [
        "Does not work", "Measures", "Preventions", "What came back", "Remedies", "Guards that held", "Advice",
    ]  # fmt: skip
    assert "| cpu-limit on db-1 | cpu | harmful |" in out


def test_the_page_needs_nothing_but_itself(old: Project, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert old.run("report", "--html", str(file)).code == 0
    html = file.read_text()
    page = Page(html)
    assert not page.fetched
    assert not page.open, "every element is closed"
    assert "http" not in re.sub(r"https?://www\.w3\.org/\S*", "", html)
    assert "prefers-color-scheme: dark" in html
    assert page.text.index("Does not work") < page.text.index("to detect")
    assert html.count("<svg") > 15


def test_names_from_elsewhere_steer_neither_page_nor_markdown(project: Project) -> None:
    evil = "<script>alert(1)</script>|\x1b[31m\n# x"
    with project.record as record:
        own = Months(record, time.time())
        for days in (1, 2, 3):
            own.fault(own.now - days * DAY, "web-1", "memory", runbook="memory-short", culprit=evil)
        own.write()
    project.run("report", "--html", "report.html")
    html = (project.root / "report.html").read_text()
    assert "<script>" not in html
    assert "\x1b" not in html
    markdown = project.run("report", "-o", "markdown").out
    assert "<script>" not in markdown
    assert "\x1b" not in markdown
    assert "\n# x" not in markdown
    assert "\x1b" not in project.run("report").out


def test_advice_is_a_runbook_in_shadow_that_passes_lint(old: Project, tmp_path: Path) -> None:
    result = old.run("report", "--advice", str(tmp_path / "review"))
    assert result.code == 0
    files = sorted(path.name for path in (tmp_path / "review").iterdir())
    assert files == ["disk-fills-soon.yml", "service-restarts.yml"]
    text = (tmp_path / "review" / "disk-fills-soon.yml").read_text()
    assert "\nmode: shadow\n" in text
    assert "# - disk of store-1, 8 times: may spare" in text
    (tmp_path / "mendbook.yml").write_text("runbooks: review\nsources: {host: false}\n")
    again = old.run("-C", str(tmp_path), "lint")
    assert again.code == 0, again.out + again.err


def test_advice_that_a_person_has_edited_is_left_alone(old: Project, tmp_path: Path) -> None:
    old.run("report", "--advice", str(tmp_path))
    edited = tmp_path / "disk-fills-soon.yml"
    edited.write_text("mine")
    assert "left as it is" in old.run("report", "--advice", str(tmp_path)).err
    assert edited.read_text() == "mine"


def test_a_record_in_use_is_read_and_not_changed(project: Project) -> None:
    with project.record as record:
        own = Months(record, time.time())
        own.fault(own.now - DAY, runbook="memory-short", resource="memory")
        own.write()
        with record.writing():  # an engine is in the midst of a change
            result = project.run("report")
        assert result.code == 0
        assert "1 fault in the last 30 days" in result.out
        before = record.standing(time.time()).version
        project.run("report")
        assert record.standing(time.time()).version == before


def test_thousands_of_incidents_are_told_in_two_seconds(project: Project) -> None:
    with project.record as record:
        own = Months(record, time.time())
        for number in range(5000):
            at = own.now - 30 * DAY * number / 5000
            own.fault(at, f"web-{number % 40}", ("disk", "memory", "cpu")[number % 3], runbook="memory-short")
        own.write()
    began = time.process_time()
    result = project.run("report", "-o", "json")
    assert time.process_time() - began < 2.0, "of this process, whatever else the machine does"
    assert json.loads(result.out)["measures"]["faults"] == 5000


def test_a_narrow_screen_has_the_head_of_a_column_beside_each_cell(old: Project, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert old.run("report", "--since", "120d", "--html", str(file)).code == 0
    html = file.read_text()
    assert html.count("<td") == html.count('data-head="')
    assert "content: attr(data-head)" in html


def test_dates_at_an_edge_are_shown_whole() -> None:
    drawn = days([1] * 120, 0.0)
    places = [
        (float(x), anchor) for x, anchor in re.findall(r'x="([\d.]+)" y="\d+" style="text-anchor:(\w+)">\d\d-', drawn)
    ]
    assert len(places) == 8
    assert all(x >= 18 or anchor == "start" for x, anchor in places)
