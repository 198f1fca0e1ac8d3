"""What happens, as it happens: entries of the record and playbook tasks, one line each, for a terminal or a log."""

from __future__ import annotations

from typing import Any

from engine.cli.output import clean
from engine.model.execution import Execution, TaskEvent
from engine.records.history import History, Logged

STYLES = {
    "alert": "yellow",
    "fault": "bold magenta",
    "decision": "bold cyan",
    "execution": "blue",
    "verification": "green",
    "outcome": "bold green",
    "operator": "bold",
    "engine": "dim",
}
TASKS = {"ok": "green", "changed": "yellow", "failed": "bold red", "unreachable": "bold red", "skipped": "dim"}
INDENT = " " * 22
QUIET = frozenset({"validate_argument_spec", "include_tasks", "include_role", "import_role", "assert", "debug"})
"""Modules whose success says nothing about the host."""


class Narrator:
    """Prints what is new in the record since it was last asked; `zero` is the time that the clock in front counts from."""

    def __init__(self, history: History, console: Any, zero: float, *, incident: str | None = None) -> None:
        self.history = history
        self.console = console
        self.zero = zero
        self.incident = incident
        newest = history.entries(limit=1)
        self._entry = newest[-1].number if newest and incident is None else 0
        self._events: dict[str, int] = {}

    def poll(self) -> None:
        """Print every new entry and every new task event, in the order in which they happened."""
        lines: list[tuple[float, int, Logged | tuple[Execution, TaskEvent]]] = []
        for logged in self.history.entries(after=self._entry, incident=self.incident):
            self._entry = max(self._entry, logged.number)
            lines.append((logged.at, 0, logged))
        for execution in self.history.executions(since=self.zero, incident=self.incident):
            for event in self.history.events_of(execution.id, self._events.get(execution.id, 0)):
                self._events[execution.id] = event.number
                lines.append((event.at, 1, (execution, event)))
        for _, _, line in sorted(lines, key=lambda each: each[:2]):
            if isinstance(line, Logged):
                self.entry(line)
            else:
                self.event(*line)

    def say(self, at: float, kind: str, text: str, style: str = "") -> None:
        """Print one line; what is longer than the terminal is wide goes on below its text, and is one line in a log."""
        from rich.text import Text

        head = Text(f"{at - self.zero:7.1f}s ", style="dim")
        head.append(f"{kind:<13}", style=STYLES.get(kind, "bold"))
        self.line(head, Text(clean(text), style=style))

    def more(self, text: str, style: str = "dim") -> None:
        """Print a line that belongs to the one before."""
        from rich.text import Text

        self.line(Text(INDENT), Text(clean(text), style=style))

    def line(self, head: Any, text: Any) -> None:
        """Print a head and a text beside it."""
        from rich.table import Table
        from rich.text import Text

        if not self.console.is_terminal:
            # what has several lines must not look like entries of their own
            self.console.print(head + Text(f"\n{INDENT}").join(text.split("\n")), soft_wrap=True)
            return
        line = Table.grid(padding=(0, 0))
        line.add_column(no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(head, text)
        self.console.print(line)

    def entry(self, logged: Logged) -> None:
        """Print an entry of the record."""
        entry = logged.entry
        bad = entry.kind == "outcome" and entry.code not in ("resolved", "self_healed")
        self.say(logged.at, entry.kind, entry.sentence, "red" if bad else "")
        match entry.kind:
            case "alert" if entry.code == "firing":
                for annotations in mappings([entry.data.get("annotations")]):
                    if annotations.get("summary"):
                        self.more(str(annotations["summary"]))
            case "fault":
                for line in strings(entry.data.get("evidence")):
                    self.more(f"· {line}")
                for other in mappings(entry.data.get("others")):
                    self.more(f"· also looked at: {other['resource']} of {other['node']} (score {other['score']})")
            case "decision":
                verdicts = mappings(entry.data.get("verdicts"))
                allowed = [str(each["guard"]) for each in verdicts if each["allowed"]]  # `why` has their sentences
                for each in verdicts:
                    if not each["allowed"]:
                        self.more(f"✗ {each['guard']}: {each['sentence']}", "red")
                if allowed:
                    self.more(f"✓ {', '.join(allowed)}")

    def event(self, execution: Execution, event: TaskEvent) -> None:
        """Print a task as it runs."""
        if event.kind in ("ok", "skipped") and str(event.data.get("action")).rpartition(".")[2] in QUIET:
            return
        if event.kind in TASKS:
            text = f"{event.host}: {event.task or 'task'} … {event.kind}"
            self.say(event.at, "task", text, TASKS[event.kind])
            if event.kind in ("failed", "unreachable") and event.text:
                self.more(event.text, "red")
        elif event.kind == "step_started":
            what = event.task or event.text or execution.remedy
            self.say(event.at, "playbook", f"{what} on {', '.join(sorted(execution.targets))}")
        elif event.kind == "message":
            self.more(event.text)


def strings(value: object) -> list[str]:
    """Return the texts in a list of the record."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def mappings(value: object) -> list[dict[str, Any]]:
    """Return the mappings in a list of the record."""
    return [dict(each) for each in value if hasattr(each, "items")] if isinstance(value, list | tuple) else []
