"""Each shipped runbook told as a story: figures as a host would show them, and what must be seen at which time.

`stories/NAME.yml` is about the runbook NAME with its own defaults; a stretch of a series stays at a value or goes
from one to another. `expect` says what trigger and verify are, and whom the culprit's expression names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.runbooks import load_runbooks
from engine.config.settings import Settings, shipped
from engine.model.labels import Batch, Labels
from engine.model.runbook import Runbook
from engine.model.target import Fleet
from engine.model.truth import Answer, Query, Truth
from engine.promql import parse
from engine.promql.literals import read_duration
from engine.promql.syntax import Selector
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

STORIES = sorted((Path(__file__).parent / "stories").glob("*.yml"))
START = 1_700_000_000.0
TRUTHS = {True: Truth.TRUE, False: Truth.FALSE, "unknown": Truth.UNKNOWN}


def seconds(text: str) -> float:
    milliseconds = read_duration(text.replace(" ", ""))
    assert milliseconds is not None, text
    return milliseconds / 1000


def labels_of(series: str) -> Labels:
    tree = parse(series)
    assert isinstance(tree, Selector)
    return Labels({matcher.name: matcher.value for matcher in tree.matchers})


def values(stretches: list[Mapping[str, Any]], step: float) -> Iterator[float]:
    for stretch in stretches:
        count = round(seconds(stretch["for"]) / step)
        first = stretch.get("from", stretch.get("at"))
        last = stretch.get("to", first)
        for place in range(count):
            yield first + (last - first) * place / count


def runbook_of(name: str) -> Runbook:
    settings = Settings(root=Path(), playbooks=(shipped("playbooks"),))
    path = shipped("runbooks") / f"{name}.yml"
    (runbook,) = load_runbooks([path], fleet=Fleet(), settings=settings).checked()
    return runbook


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_shipped_runbook_sees_its_fault_and_its_end(path: Path, tmp_path: Path) -> None:
    story = yaml.safe_load(path.read_text())
    runbook = runbook_of(path.stem)
    step = seconds(story.get("step", "15s"))
    rows = {labels_of(series): list(values(each, step)) for series, each in story["series"].items()}
    store = SampleStore(tmp_path / "samples", retention=400 * 86_400.0)
    longest = max(map(len, rows.values()))
    for place in range(longest):
        there = {labels: row[place] for labels, row in rows.items() if place < len(row)}
        store.append(Batch(START + place * step, tuple(there), tuple(there.values())))
    evaluator = EmbeddedEvaluator(store, fresh=3 * step)
    for expected in story["expect"]:
        at = START + seconds(expected["after"])
        what = f"after {expected['after']}"
        trigger = ask(evaluator, runbook.trigger.expr, at)
        if "trigger" in expected:
            assert trigger.truth({story["instance"]}) is TRUTHS[expected["trigger"]], f"trigger {what}: {trigger}"
        if "verify" in expected:
            verify = ask(evaluator, runbook.verify.expr, at)
            assert verify.truth({story["instance"]}) is TRUTHS[expected["verify"]], f"verify {what}: {verify}"
        if "culprit" in expected:
            expr, label = runbook.localize.culprit_expr, runbook.localize.culprit_label
            samples = (trigger if expr is None else ask(evaluator, expr, at)).about({story["instance"]})
            assert label is not None
            strongest = max(samples, key=lambda sample: sample.value)
            assert strongest.labels[label] == expected["culprit"], what
        if "require" in expected:
            for condition in runbook.guards.require:
                assert ask(evaluator, condition.expr, at).truth({story["instance"]}) is TRUTHS[expected["require"]]


def ask(evaluator: EmbeddedEvaluator, expr: str, at: float) -> Answer:
    (answer,) = evaluator.answer([Query(expr)], at)
    return answer


def test_every_shipped_runbook_has_its_story() -> None:
    assert {path.stem for path in STORIES} == {path.stem for path in shipped("runbooks").glob("*.yml")}


def test_a_story_tells_a_fault_and_its_end() -> None:
    for path in STORIES:
        seen = [expected.get("trigger") for expected in yaml.safe_load(path.read_text())["expect"]]
        assert {True, False} <= set(seen), path.name
