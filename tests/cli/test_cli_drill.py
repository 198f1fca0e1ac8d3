"""Drills from the command line: what there is, how it went, and what is refused before anything is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.chaos.journal import Journal, Undo
from engine.chaos.scorecard import CARD, DRILLS, append
from engine.chaos.shelf import find, names
from tests.chaos.test_chaos_page import FOUND, RESULT
from tests.cli.cli_project import Project

INVENTORY = "lab: {{hosts: {{web1: {{ansible_host: {address}, ansible_port: 1}}}}}}\n"


@pytest.fixture
def drilled(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which drills have run, one that passed and one that did not, and a product that came with none."""
    monkeypatch.setattr("engine.chaos.scorecard.SHIPPED", tmp_path / "none")
    experiment = find("service-killed")
    card = project.root / DRILLS / CARD
    for repeat, lost in ((1, 0), (2, 3)):
        harm = replace(RESULT.harm, lost=lost)
        found = replace(FOUND, runbooks=("memory-short",))
        append(card, replace(RESULT, digest=experiment.digest, repeat=repeat, harm=harm, found=(found,)))
    return project


def lab(project: Project, address: str) -> None:
    project.write(".mendbook-lab/mendbook.yml", "inventory: inventory.yml\n")
    project.write(".mendbook-lab/inventory.yml", INVENTORY.format(address=address))


def test_the_list_says_when_each_experiment_was_last_proved(drilled: Project) -> None:
    listed = json.loads(drilled.run("drill", "list", "-o", "json").out)
    assert [each["experiment"] for each in listed] == list(names())
    (killed,) = (each for each in listed if each["experiment"] == "service-killed")
    assert (killed["ran"] >= 2, killed["passed"] >= 1, killed["proved"] >= RESULT.at) == (True, True, True)
    assert "50% (1/2)" in drilled.run("drill").out


def test_the_report_says_what_went_wrong_and_writes_a_page(drilled: Project, tmp_path: Path) -> None:
    page = tmp_path / "page" / "drills.html"
    told = drilled.run("drill", "report", "--html", str(page))
    assert told.code == 0
    assert "3 acknowledged transfers are gone" in told.out
    assert page.read_text().startswith("<!doctype html>")
    lines = drilled.run("drill", "report", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["passed"] for line in lines] == [True, False]


def test_a_runbooks_page_says_when_it_was_last_proved_and_on_what(drilled: Project) -> None:
    told = drilled.run("trust", "memory-short").out
    assert "by service-killed: 1 of 2 drills passed, with mendbook 0.1.0" in " ".join(told.split())


def test_a_drill_needs_the_project_of_a_lab(project: Project) -> None:
    refused = project.run("drill", "run", "service-killed")
    assert refused.code == 1
    assert "is no project of a lab; `mendbook lab up` makes one" in refused.err
    assert not (project.root / ".mendbook").exists()


@pytest.mark.parametrize("address", ["10.1.2.3", "localhost", "127.0.0.1", "web1.example.com"])
def test_a_host_that_is_none_of_the_labs_is_refused_before_anything_starts(project: Project, address: str) -> None:
    lab(project, address)
    refused = project.run("drill", "run", "service-killed")
    assert refused.code == 20
    assert "nothing is injected" in refused.err
    assert not (project.root / ".mendbook-lab" / ".mendbook").exists(), "no engine was started"


def test_what_an_earlier_drill_left_is_undone_before_anything_else(project: Project) -> None:
    lab(project, "127.89.79.99")
    journal = Journal(project.root / DRILLS / "journal")
    inventory = json.dumps({"lab": {"hosts": {"web1": {"ansible_host": "127.89.79.99"}}}})
    journal.write(Undo("a", "d", "power-off", "web1", {}, inventory, 60.0, 1.0))
    stopped = project.run("drill", "run", "service-killed")
    assert stopped.code == 1
    assert "undoing power-off on web1" in stopped.err
    assert "no fence_on_command for web1" in stopped.err
    assert len(journal.pending()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run",), 64, "name experiments, or say --all"),
        (("run", "service-killed", "--all"), 64, "name experiments, or say --all"),
        (("run", "service-kiled"), 1, "did you mean 'service-killed'"),
        (("run", "./none.yml"), 1, "No such file"),
        (("quiet", "--for", "5"), 64, "did you mean '5s'"),
        (("runn",), 64, "did you mean 'run'"),
    ],
)
def test_mistakes_get_a_clear_message(project: Project, words: tuple[str, ...], code: int, said: str) -> None:
    told = project.run("drill", *words)
    assert (told.code, told.out) == (code, "")
    assert said in told.err


def test_an_experiment_of_ones_own_that_is_wrong_is_refused_at_its_line(project: Project) -> None:
    text = find("service-killed").file.read_text().replace("signal: 9", "signal: kill")
    project.write("mine.yml", text)
    line = text.split("\n").index("    signal: kill") + 1
    told = project.run("drill", "run", "mine.yml")
    assert told.code == 1
    assert f"Origin: mine.yml:{line}:13" in told.err


def test_a_scorecard_that_cannot_be_read_is_said(project: Project) -> None:
    project.write(f"{DRILLS}/{CARD}", "{}\n{}\n")
    for words in (("drill", "report"), ("trust", "memory-short")):
        told = project.run(*words)
        assert told.code == 1
        assert f"{CARD}:1: this is no line of a scorecard" in told.err
