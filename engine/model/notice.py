"""What people are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NoticeKind(StrEnum):
    """What people can be told of."""

    ESCALATED = "escalated"
    APPROVAL = "approval"
    RESOLVED = "resolved"
    REMINDER = "reminder"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Notice:
    """A few lines for people who do not look: what was decided, why, and what to type next."""

    kind: NoticeKind
    title: str
    body: str
    at: float
