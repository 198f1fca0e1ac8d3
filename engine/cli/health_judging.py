"""What `mendbook doctor` says of what judges without rules: the default watch and the forecasts, by the figures that the engine keeps of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.cli.health_check import Check, ok, warn
from engine.cli.output import ago
from engine.cli.words import counted

if TYPE_CHECKING:
    from engine.app import App
    from engine.model.labels import Labels

LATEST = 900.0
"""Seconds up to the newest sample in which figures are looked for."""
SLOW = 0.2
"""A look that takes more than this part of an interval is in the way of collecting."""

Figures = dict[str, list[tuple["Labels", float]]]


def judging(app: App) -> Iterator[Check]:
    """Say whether the default watch and forecasts are on, over how many series, and what they cost or were worth."""
    figures = figures_of(app)
    yield watch(app, figures)
    yield forecasts(app, figures)


def watch(app: App, figures: Figures) -> Check:
    """The default watch is on, knows series, and takes little."""
    name, settings = "watch", app.settings
    if not settings.anomalies:
        return ok(name, "off, by `anomalies.enabled`: what is unusual is not told")
    if app.server is not None:
        return ok(name, f"off: the samples are with {app.server.address}")
    series = value_of(figures, "mendbook_watched_series")
    if not series:
        return ok(name, "on; it has seen no series yet")
    history = value_of(figures, "mendbook_watched_history_seconds")
    took = value_of(figures, "mendbook_anomalies_duration_seconds")
    said = (
        f"{series:.0f} series, known for {ago(history)} (median), "
        f"{counted(int(value_of(figures, 'mendbook_anomalies_told')), 'alarm')}, "
        f"{value_of(figures, 'mendbook_watched_bytes') / (1 << 20):.1f} MiB, {1000 * took:.0f} ms a look"
    )
    if took > SLOW * settings.interval:
        return warn(name, said, "raise `interval`, or set `anomalies.enabled` to false")
    return ok(name, said)


def forecasts(app: App, figures: Figures) -> Check:
    """Forecasts are made, and it is known what they were worth."""
    name = "forecasts"
    if not app.settings.forecast:
        return ok(name, "off, by `forecast.enabled`")
    states = {labels.get("state", ""): int(value) for labels, value in figures.get("mendbook_forecasts", ())}
    if not sum(states.values()):
        return ok(name, "on; there is nothing to forecast yet")
    told, wrong, short = (states.get(state, 0) for state in ("told", "wrong", "short"))
    said = f"{told} told, {wrong} not told since they were wrong before, {short} with too short a history"
    errors = [value for _, value in figures.get("mendbook_forecast_error_ratio", ())]
    if errors:
        said += f"; backtest error {statistics.median(errors):.2f} (median, 0 is never wrong)"
    if states.get("left_out"):
        return warn(name, f"{said}; {states['left_out']} left out", "what is beyond 1,000 series is not forecast")
    return ok(name, said)


def figures_of(app: App) -> Figures:
    """Return the engine's newest figures of itself, by their names."""
    from engine.model.labels import METRIC_NAME
    from engine.promql import Matcher, MatchOperator

    store = app.read_samples()
    newest = store.newest()
    found: Figures = {}
    if newest is None:
        return found
    names = Matcher(METRIC_NAME, MatchOperator.REGEX, "mendbook_(watched|anomalies|forecast).*")
    block = store.latest((names,), round((newest - LATEST) * 1000), round(newest * 1000))
    for labels, value in zip(block.series, block.values.tolist(), strict=True):
        if value == value:  # noqa: PLR0124  a series that has ended ends with a NaN
            found.setdefault(labels[METRIC_NAME], []).append((labels, value))
    return found


def value_of(figures: Figures, name: str) -> float:
    """Return the value of a figure without labels of its own; 0 where there is none."""
    return figures[name][0][1] if name in figures else 0.0
