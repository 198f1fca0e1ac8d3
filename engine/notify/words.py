"""What people are told, in words: the decision, why, and what to type next."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.model.decision import Entry
from engine.model.notice import Notice, NoticeKind

LONGEST = 600
"""Characters of a sentence; what metrics say can be long."""
HEALED = frozenset({"resolved", "self_healed"})
HELD_BACK = frozenset({"pause", "stop", "resume"})


def compose(entry: Entry, decision: str | None, at: float, environment: str = "") -> Notice | None:
    """Return what people are told of an entry of the record; None for one that nobody needs to be told of.

    `decision` is run, hold or escalate. Sentences are those of the record, which holds no secrets.
    """
    kind = kind_of(entry, decision)
    if kind is None:
        return None
    where = f"[{environment}] " if environment else ""
    lines = [shortened(entry.sentence.removeprefix("Escalate: "))]
    about = [
        f"incident {entry.incident}" if entry.incident else "",
        f"runbook {entry.runbook}" if entry.runbook else "",
    ]
    lines.append(", ".join([*(text for text in about if text), f"at {local(at)}"]))
    expires = entry.data.get("expires_at")
    if kind is NoticeKind.APPROVAL and isinstance(expires, int | float):
        lines.append(f"It can be approved until {local(expires)}.")
    lines += [f"Next: {command}" for command in commands(kind, entry)]
    return Notice(kind, shortened(f"{where}{title(kind, entry)}"), "\n".join(lines), at)


def kind_of(entry: Entry, decision: str | None) -> NoticeKind | None:
    """Return what an entry is to people; None for one that they need not be told of."""
    match entry.kind:
        case "decision" if decision == "escalate":
            return NoticeKind.ESCALATED
        case "approval" if entry.code == "proposed":
            return NoticeKind.APPROVAL
        case "outcome" if entry.code in HEALED:
            return NoticeKind.RESOLVED
        case "reminder":
            return NoticeKind.REMINDER
        case "operator" if entry.code in HELD_BACK:
            return NoticeKind.PAUSED
        case "engine" if entry.code == "restored":
            return NoticeKind.PAUSED
    return None


def title(kind: NoticeKind, entry: Entry) -> str:
    """Return the head line: the host, and what it is about it."""
    host = entry.target or "Mendbook"
    match kind:
        case NoticeKind.ESCALATED:
            return f"{host}: a human is needed"
        case NoticeKind.APPROVAL:
            return f"{host}: a remedy waits for approval"
        case NoticeKind.RESOLVED:
            return f"{host}: {'healed by itself' if entry.code == 'self_healed' else 'resolved'}"
        case NoticeKind.REMINDER:
            return f"{host}: still waits for a human"
        case NoticeKind.PAUSED:
            return {"stop": "Mendbook: emergency stop", "resume": "Mendbook: resumed"}.get(
                entry.code, "Mendbook: paused"
            )


def commands(kind: NoticeKind, entry: Entry) -> tuple[str, ...]:
    """Return what to type next."""
    incident = entry.incident or ""
    match kind:
        case NoticeKind.ESCALATED | NoticeKind.REMINDER if incident:
            return (f"mendbook incidents show {incident}", f"mendbook incidents ack {incident}")
        case NoticeKind.APPROVAL if incident:
            return (f"mendbook approve {incident}", f"mendbook deny {incident}")
        case NoticeKind.RESOLVED if incident:
            return (f"mendbook incidents show {incident}",)
        case NoticeKind.PAUSED if entry.code != "resume":
            return ("mendbook status", "mendbook resume --reason TEXT")
    return ()


def together(notices: Sequence[Notice]) -> Notice:
    """Return one notice in place of many, their titles a line each: people are not flooded."""
    shown = [f"{local(notice.at)}  {notice.title}" for notice in notices[:30]]
    more = len(notices) - len(shown)
    if more > 0:
        shown.append(f"and {more} more")
    worst = min(notices, key=lambda notice: list(NoticeKind).index(notice.kind))
    body = "\n".join([*shown, "Next: mendbook incidents list --state live"])
    return Notice(worst.kind, f"Mendbook: {len(notices)} things happened", body, notices[-1].at)


def shortened(text: str) -> str:
    """Return text on one line without control characters, cut where it is long."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def local(at: float) -> str:
    """Return a moment with its offset: who reads it may be elsewhere."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
