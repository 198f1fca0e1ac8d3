"""For how long each host was looked at, day by day: what faults are counted by. A small file beside the record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.app.files import write_whole
from engine.core.learning.facts import DAY

KEPT = 400
"""Days."""


@dataclass(slots=True)
class Coverage:
    """Seconds with data by host and day since the epoch; measured from `since` on, None as long as nothing is."""

    since: float | None = None
    days: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, targets: Iterable[str], at: float, seconds: float) -> None:
        """Take note that these hosts were looked at for the seconds before `at`; what is older than it is kept goes."""
        self.since = at - seconds if self.since is None else self.since
        day = int(at // DAY)
        for target in targets:
            own = self.days.setdefault(target, {})
            own[day] = own.get(day, 0.0) + seconds
        oldest = day - KEPT
        for own in self.days.values():
            for each in [each for each in own if each < oldest]:
                del own[each]
        self.since = max(self.since, oldest * DAY)

    def write(self, path: Path) -> None:
        """Put it into a file, whole or not at all. Raises OSError."""
        plain = {
            "since": self.since,
            "days": {
                target: {str(day): round(each, 1) for day, each in own.items()} for target, own in self.days.items()
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(plain, separators=(",", ":")))

    @classmethod
    def read(cls, path: Path) -> Coverage:
        """Return what a file says; nothing where there is none, or none that can be read: then it begins anew."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            days = {
                str(target): {int(day): float(seconds) for day, seconds in own.items()}
                for target, own in plain["days"].items()
            }
            since = None if plain["since"] is None else float(plain["since"])
            said = [0.0 if since is None else since, *(each for own in days.values() for each in own.values())]
            if not all(0 <= each < math.inf for each in said):
                return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()
        return cls(since, days)
