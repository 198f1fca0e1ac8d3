"""What a tick sees is stored first: the alerts, what changed about them, and which hosts there are."""

from __future__ import annotations

from dataclasses import replace

from engine.core.detect import named
from engine.core.draft import Scene
from engine.core.grace import side_effect, touches
from engine.core.guards import hold
from engine.core.lifecycle import verdict_rows
from engine.core.review import resource_of
from engine.model.decision import Change, Entry
from engine.model.incident import Alert, AlertState
from engine.model.standing import Standing


def see(scene: Scene, standing: Standing) -> Change:
    """Store the alerts, with a line for each that changed its state, and the inventory unless it shrank too much."""
    alerts, lines = held(scene, standing)
    before = {alert.fingerprint: alert.state for alert in standing.alerts}
    entries = tuple(
        alert_entry(alert)
        for alert in scene.alerts
        if alert.state is not AlertState.PENDING and before.get(alert.fingerprint) is not alert.state
    )
    names = frozenset(target.name for target in scene.fleet)
    gone = standing.fleet - names
    shrank = bool(standing.fleet) and len(gone) / len(standing.fleet) > scene.catalog.limits.shrink
    return Change(
        version=0,
        at=scene.now,
        alerts=alerts,
        entries=(*entries, *lines),
        fleet=None if shrank or names == standing.fleet else names,
    )


def alert_entry(alert: Alert) -> Entry:
    """Return the line of an alert that changed its state."""
    where = alert.target or str(alert.labels)
    match alert.state:
        case AlertState.RESOLVED:
            sentence = f"resolved after {alert.last_seen - alert.active_since:.0f}s"
        case AlertState.UNKNOWN:
            sentence = f"unknown: {alert.reason}"
        case _:
            sentence = f"{alert.state}: {alert.condition}" + (f" ({alert.reason})" if alert.reason else "")
    return Entry(
        "alert",
        f"{alert.name} on {where} {sentence}",
        None,
        alert.target,
        named(alert.runbook),
        str(alert.state),
        {
            "fingerprint": alert.fingerprint,
            "value": alert.value,
            "condition": alert.condition,
            "active_since": alert.active_since,
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
        },
    )


def held(scene: Scene, standing: Standing) -> tuple[tuple[Alert, ...], tuple[Entry, ...]]:
    """Return the alerts, those marked that open no incident because of a run on their host, and a line for each newly marked."""
    near = touches(standing, scene.catalog, scene.now)
    if not near:
        return scene.alerts, ()
    live = {incident.key for incident in standing.incidents if incident.state.live}
    marked = {alert.fingerprint for alert in standing.alerts if alert.held}
    alerts: list[Alert] = []
    entries: list[Entry] = []
    for alert in scene.alerts:
        resource = resource_of(alert, scene)
        if alert.state is not AlertState.FIRING or alert.target is None or (alert.target, resource) in live:
            alerts.append(alert)
            continue
        touch = side_effect(alert.target, resource, alert.active_since, near)
        alerts.append(alert if touch is None else replace(alert, held=touch.sentence))
        if touch is not None and alert.fingerprint not in marked:
            verdict = hold("grace", "grace", touch.sentence, touch.until)
            entries.append(
                Entry(
                    "decision",
                    f"Hold: {alert.name} on {alert.target} opens no incident yet: {touch.sentence}",
                    None,
                    alert.target,
                    named(alert.runbook),
                    "grace",
                    {"verdicts": verdict_rows((verdict,)), "fingerprint": alert.fingerprint},
                )
            )
    return tuple(alerts), tuple(entries)
