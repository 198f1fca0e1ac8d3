"""The past of a project, as it is learned from: its record, for how long was looked, and what runbooks are for."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from engine.app.coverage import Coverage
from engine.config.document import read_document
from engine.config.settings import Settings, shipped
from engine.core.learning.advice import Advice, Offer
from engine.core.learning.facts import Past, Watched
from engine.model.runbook import Purpose, Runbook
from engine.records.ledger import tell
from engine.records.store import Record
from engine.report.period import Report, report


def look_back(
    settings: Settings,
    record: Record,
    runbooks: Sequence[Runbook],
    now: float,
    since: float,
    fleet: Collection[str] = (),
) -> Report:
    """Return the report of the time since then. May raise RecordError; changes nothing."""
    preventing = {each.name: each.localize.resource for each in runbooks if each.purpose is Purpose.PREVENTION}
    offers = tuple(offered(runbooks))
    preventing = {each.runbook: each.resource for each in offers} | preventing
    told = tell(record, since, preventing)
    coverage = Coverage.read(settings.coverage)
    began = told.began
    first = min((each.began_at for each in told.happened), default=began)
    begun = min((at for at in (began, first) if at is not None), default=now)
    until = now if told.last is None else min(now, max(told.last, begun))
    watched = Watched(begun, until, until if coverage.since is None else coverage.since, coverage.days)
    past = Past(
        now, told.happened, told.tried, told.ran, told.held, told.warned_of, watched, preventing,
        told.targets | frozenset(fleet),
    )  # fmt: skip
    return report(past, since, None if told.began is None and not told.happened else begun, offers, ahead)


def offered(runbooks: Sequence[Runbook]) -> Iterator[Offer]:
    """Yield every runbook that prevents: the project's with its mode, and those that come with the product."""
    own: dict[str, Runbook] = {}
    for each in runbooks:
        if each.purpose is Purpose.PREVENTION:
            own.setdefault(each.name, each)
    for name, each in own.items():
        yield Offer(name, each.localize.resource, each.summary, str(each.mode))
    for path in shipped_preventions():
        data = read_document(path).data
        localize, name = data.get("localize"), str(data.get("runbook"))
        resource = localize.get("resource") if isinstance(localize, Mapping) else None
        if name not in own and resource is not None:
            yield Offer(name, str(resource), str(data.get("summary")), None)


def shipped_preventions() -> Iterator[Path]:
    """Yield the files of the preventions that come with the product."""
    for path in sorted(shipped("runbooks").glob("*.yml")):
        if "\npurpose: prevention\n" in path.read_text():
            yield path


def ahead(at: float) -> float:
    """Return by how much local time is ahead of UTC at a moment."""
    offset = dt.datetime.fromtimestamp(at).astimezone().utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def drafts(advised: Sequence[Advice]) -> Iterator[tuple[str, str]]:
    """Yield each runbook that is advised by its file's name: as it comes with the product, in shadow, with what speaks for it on top.

    One that the project wrote itself is there to be raised, and is not written anew.
    """
    by: dict[str, list[Advice]] = {}
    for each in advised:
        by.setdefault(each.runbook, []).append(each)
    for path in shipped_preventions():
        text = path.read_text()
        name = path.stem
        if name not in by:
            continue
        hosts = ", ".join(f"{each.target}: approve" for each in by[name])
        said = [
            "Advised by `mendbook report`, to be reviewed; nothing is enabled by this file: it is in shadow.",
            *(f"- {each.resource} of {each.target}, {each.count} times: {each.sentence}" for each in by[name]),
            f"Where it has convinced you, raise it in mendbook.yml:  modes: {{{name}: {{hosts: {{{hosts}}}}}}}",
        ]
        head = "".join(f"# {''.join(char if char.isprintable() else '?' for char in each)}\n" for each in said)
        schema, _, rest = text.partition("\n")
        body = re.sub(r"^mode: .*$", "mode: shadow", rest, count=1, flags=re.MULTILINE)
        yield path.name, f"{schema}\n{head}{body}"
