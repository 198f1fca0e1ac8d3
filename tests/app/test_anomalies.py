"""The default watch in an engine: over a real store, across restarts, and only where it is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.app.anomalies import Anomalies
from engine.app.wiring import App
from engine.config.settings import load_settings
from engine.model.labels import Batch, Labels
from engine.model.truth import Query, Truth
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

START = 1_700_438_400.0
MEMORY = Labels({"__name__": "queue_items", "instance": "web-1"})


def grown(store: SampleStore, watch: Anomalies, values: list[float], start: float) -> float:
    """Collect one value a tick and let the watch look; return the time of the next tick."""
    for number, value in enumerate(values):
        at = start + 15 * number
        store.append(Batch(at, (MEMORY,), (value,)))
        store.append(watch.collect(at + 1))
    return start + 15 * len(values)


def calm(count: int) -> list[float]:
    return [float(value) for value in 50 + np.random.default_rng(0).normal(size=count)]


def test_an_alarm_is_a_series_until_it_ends(tmp_path: Path) -> None:
    with SampleStore(tmp_path / "samples") as store:
        watch = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        at = grown(store, watch, calm(100), START)
        evaluator = EmbeddedEvaluator(store, fresh=45)
        query = Query("mendbook_anomaly_score{metric='queue_items', kind='level'} > 5")
        assert evaluator.answer((query,), at - 14)[0].samples == ()
        at = grown(store, watch, [400.0] * 3, at)
        (answer,) = evaluator.answer((query,), at - 14)
        assert answer.truth({"web-1"}) is Truth.TRUE
        (sample,) = answer.samples
        assert sample.labels["instance"] == "web-1"
        count = Query("mendbook_anomalies > 0")
        assert evaluator.answer((count,), at - 14)[0].truth({"web-1"}) is Truth.TRUE
        at = grown(store, watch, calm(5), at)
        assert evaluator.answer((count,), at - 14)[0].truth({"web-1"}) is Truth.FALSE
        assert evaluator.answer((Query("mendbook_anomaly_score"),), at - 14)[0].samples == ()


def test_what_was_usual_before_a_restart_is_usual_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "usual.npz"
    with SampleStore(tmp_path / "samples") as store:
        first = Anomalies(store, file, interval=15, most=10)
        at = grown(store, first, calm(100), START)
        first.save()
        second = Anomalies(store, file, interval=15, most=10)
        grown(store, second, [400.0] * 2, at)
        assert next(iter(second.figures())).value == 1
        assert [figure.value for figure in second.figures() if figure.name == "mendbook_anomalies_told"] == [1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"nothing of ours"])
def test_a_file_that_cannot_be_read_is_learned_again(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "usual.npz"
    file.write_bytes(content)
    with SampleStore(tmp_path / "samples") as store:
        watch = Anomalies(store, file, interval=15, most=10)
        grown(store, watch, calm(20), START)
        watch.save()
        assert len(Anomalies(store, file, interval=15, most=10).roster.series) == 1


def test_its_own_series_are_not_watched(tmp_path: Path) -> None:
    with SampleStore(tmp_path / "samples") as store:
        watch = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        grown(store, watch, calm(100) + [400.0] * 50, START)
        assert watch.roster.series == [MEMORY]


@pytest.mark.parametrize(
    ("text", "watched"),
    [
        ("", True),
        ("anomalies: {enabled: false}", False),
        ("evaluator: {prometheus: 'http://127.0.0.1:9'}", False),
        ("anomalies: {most: 5}", True),
    ],
)
def test_it_is_on_unless_switched_off_or_a_server_has_the_samples(tmp_path: Path, text: str, watched: bool) -> None:
    (tmp_path / "mendbook.yml").write_text(f"sources: {{host: false}}\n{text}\n")
    with (
        App(load_settings(tmp_path / "mendbook.yml", tmp_path)) as app,
        SampleStore(tmp_path / "samples") as store,
    ):
        (tmp_path / ".mendbook").mkdir(exist_ok=True)
        watch = app.anomalies(store)
        assert (watch is not None) is watched
        if watch is not None:
            assert watch.most == (5 if "most" in text else 1000)
