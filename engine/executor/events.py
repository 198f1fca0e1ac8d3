"""Reads ansible-runner's events: from a page of fields to the few that are kept, and what the statistics say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.executor import scrub

_RESULTS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
    "runner_item_on_failed": "failed",
}
_COMPLAINTS = frozenset({"error", "warning", "system_warning", "verbose"})
_OURS = "raw module does not support the environment keyword"  # of the mark that our callback gives every task
_LONGEST = 64 << 10  # before scrubbing and cutting: what is beyond would be cut anyway


@dataclass(slots=True)
class Playback:
    """What one run of ansible-playbook told, gathered event by event."""

    stats: Mapping[str, Any] | None = None
    unmatched: list[str] = field(default_factory=list)
    """The plays that matched no host."""
    complaints: list[str] = field(default_factory=list)
    """What ansible said outside of plays and tasks."""
    play: str = ""

    def read(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take in an event of ansible-runner; return what the journal keeps of it, None for nothing."""
        name = str(event.get("event", ""))
        data = event.get("event_data")
        data = data if isinstance(data, Mapping) else {}
        match name:
            case "playbook_on_stats":
                self.stats = {key: data.get(key) or {} for key in ("failures", "dark", "processed")}
                return None
            case "playbook_on_play_start":
                self.play = str(data.get("name") or data.get("pattern") or "")
                self._complain(name, str(event.get("stdout") or ""))  # our callback prints why it refuses a play
                return {"kind": "play_started", "task": self.play}
            case "playbook_on_no_hosts_matched":
                self.unmatched.append(self.play)
                return {"kind": "message", "text": f"no host matched the play {self.play!r}"}
            case "playbook_on_task_start":
                return {"kind": "task_started", "task": str(data.get("name") or data.get("task") or "")}
            case "runner_retry":
                return {"kind": "message", "host": _host(data), "task": _task(data), "text": "failed; trying again"}
            case _ if name in _RESULTS:
                return _result(_RESULTS[name], data)
            case _ if name in _COMPLAINTS:
                return self._complain(name, str(event.get("stdout") or ""))
        return None

    def _complain(self, name: str, text: str) -> dict[str, Any] | None:
        text = text.strip()
        if not text or _OURS in text:
            return None
        if name == "error" and self.play:
            return None  # it comes again as the result of a task
        if name != "warning" and sum(map(len, self.complaints)) < _LONGEST:
            self.complaints.append(_excerpt(text))
        return {"kind": "message", "text": _excerpt(text)}


def _host(data: Mapping[str, Any]) -> str:
    return str(data.get("host") or "")


def _task(data: Mapping[str, Any]) -> str:
    return str(data.get("task") or data.get("name") or "")


def _result(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    result = data.get("res")
    if not isinstance(result, Mapping):
        result = {}
    elif not result:
        result = {"msg": "its result was too large to be read"}
    if kind == "ok" and result.get("changed"):
        kind = "changed"
    facts: dict[str, Any] = {"action": str(data.get("task_action") or "")}
    if isinstance(data.get("duration"), (int, float)):
        facts["duration"] = round(float(data["duration"]), 3)
    if kind == "failed" and data.get("ignore_errors"):
        facts["ignored"] = True
    if isinstance(result.get("rc"), int):
        facts["rc"] = result["rc"]
    return {"kind": kind, "host": _host(data), "task": _task(data), "text": _text(kind, result), "data": facts}


def _text(kind: str, result: Mapping[str, Any]) -> str:
    """Return what a person would want to read of a result; the rest of it is not kept."""
    if "censored" in result or result.get("_ansible_no_log"):
        return "hidden: no_log"
    parts = [_words(result.get("msg"))]
    if kind in ("failed", "unreachable"):
        parts += [_words(result.get("stderr") or result.get("module_stderr"))]
        if not any(parts) or result.get("module_stdout"):
            parts += [_words(result.get("stdout") or result.get("module_stdout"))]
        parts += [_failed_items(result.get("results"))]
    elif kind == "skipped":
        parts += [_words(result.get("skip_reason"))]
    parts += [_diff(result.get("diff"))]
    return "\n".join(part for part in parts if part)


def _words(value: Any) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        value = json.dumps(scrub.redacted(value), ensure_ascii=False, default=str)
    return _excerpt(value.strip())


def _excerpt(text: str) -> str:
    """Return the beginning and the end of a long text in whole lines: half a secret could not be recognized."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    head, tail = text[:half].rpartition("\n")[0], text[-half:].partition("\n")[2]
    return f"{head}\n… {len(text)} characters in all …\n{tail}"


def _failed_items(results: Any) -> str:
    if not isinstance(results, Sequence) or isinstance(results, str):
        return ""
    failed = [one for one in results if isinstance(one, Mapping) and one.get("failed")]
    return "\n".join(_text("failed", one) for one in failed[:10])


def _diff(diff: Any) -> str:
    """Return differences as text: Ansible gives one or several, prepared or as before and after."""
    if isinstance(diff, Mapping):
        diff = [diff]
    if not isinstance(diff, Sequence) or isinstance(diff, str):
        return ""
    parts = []
    for one in diff:
        if not isinstance(one, Mapping):
            continue
        if one.get("prepared"):
            parts.append(_words(one["prepared"]))
        elif one.get("before") != one.get("after"):
            header = str(one.get("after_header") or one.get("before_header") or "")
            before, after = _words(one.get("before")), _words(one.get("after"))
            lines = ([f"@@ {header}"] if header else []) + [f"-{line}" for line in before.splitlines()[:200]]
            parts.append("\n".join([*lines, *(f"+{line}" for line in after.splitlines()[:200])]))
    return "\n".join(parts)
