"""The operators' side of the record: what they ask for, hold back and set free, each with who and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sqlalchemy import Connection, delete, select, update

from engine.model.decision import Entry
from engine.model.runbook import Value
from engine.model.standing import Pause, Request, Silence
from engine.records import chain, writes
from engine.records.rows import from_row
from engine.records.schema import locks, meta, pauses, requests, silences
from engine.records.store import Record


class Desk:
    """Writes into a record beside a running engine; every method may raise RecordError, and then nothing was stored.

    Pausing, resuming, silencing and releasing count the record's version on, so that what was planned without knowing is refused.
    """

    def __init__(self, record: Record, clock: Callable[[], float] = time.time) -> None:
        self.record = record
        self.clock = clock

    def request(self, request: Request) -> None:
        """Leave a request for the engine to take up; asking again under the same id does nothing."""
        with self.record.writing() as connection:
            writes.put_request(connection, request)

    def request_state(self, request: str) -> tuple[str, str] | None:
        """Return ("open" or "finished", result); None for a request that was never made."""
        query = select(requests.c.finished, requests.c.result).where(requests.c.id == request)
        with self.record.reading() as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            return None
        return ("finished" if found.finished else "open", found.result)

    def withdraw(self, request: str, by: str) -> bool:
        """Take back a request that no engine has taken up yet; return whether it was open."""
        with self.record.writing() as connection:
            open_ = update(requests).where(requests.c.id == request, requests.c.finished.is_(False))
            if connection.execute(open_.values(finished=True, result="[]")).rowcount == 0:
                return False
            self.note(connection, f"{by} withdrew {request}", "withdraw", by)
        return True

    def pause(self, pause: Pause) -> Pause | None:
        """Hold automation back, in place of a pause with the same scope; return the one that stands because it holds longer, if any.

        Nobody's pause ends sooner by another's, and an emergency stop ends only when it is resumed.
        """
        with self.record.writing() as connection:
            query = select(pauses).where(pauses.c.scope == pause.scope)
            found = connection.execute(query).mappings().one_or_none()
            there = None if found is None else from_row(Pause, dict(found))
            if there is not None and there.outlasts(pause, self.clock()):
                return there
            writes.put_pause(connection, pause)
            what = "stopped everything" if pause.stop else f"paused {pause.scope}"
            more: dict[str, Value] = {"scope": pause.scope, "until": pause.until, "reason": pause.reason}
            code = "stop" if pause.stop else "pause"
            self.note(connection, f"{pause.by} {what}: {pause.reason}", code, pause.by, more=more)
        return None

    def resume(self, scope: str, by: str, reason: str) -> bool:
        """End the pause of that scope; return whether there was one that had not run out."""
        with self.record.writing() as connection:
            found = connection.execute(select(pauses.c.until).where(pauses.c.scope == scope)).one_or_none()
            if found is None:
                return False
            connection.execute(delete(pauses).where(pauses.c.scope == scope))
            self.note(connection, f"{by} resumed {scope}: {reason}", "resume", by, more={"scope": scope})
            return found.until is None or bool(found.until > self.clock())

    def silence(self, silence: Silence) -> None:
        """Have what matches start nothing until its end, in place of a silence with the same id."""
        with self.record.writing() as connection:
            writes.put_silence(connection, silence)
            sentence = f"{silence.by} silenced {silence.selector}: {silence.reason}"
            more: dict[str, Value] = {"silence": silence.id, "selector": silence.selector, "until": silence.until}
            self.note(connection, sentence, "silence", silence.by, more=more)

    def unsilence(self, silence: str, by: str, reason: str) -> bool:
        """End the silence with that id; return whether there was one that had not run out."""
        with self.record.writing() as connection:
            found = connection.execute(select(silences).where(silences.c.id == silence)).mappings().one_or_none()
            if found is None:
                return False
            connection.execute(delete(silences).where(silences.c.id == silence))
            sentence = f"{by} ended the silence of {found['selector']}: {reason}"
            self.note(connection, sentence, "unsilence", by, more={"silence": silence, "selector": found["selector"]})
            return bool(found["until"] > self.clock())

    def release_lock(self, target: str, by: str, reason: str) -> bool:
        """Set a target free, whoever holds it; return whether it was locked."""
        with self.record.writing() as connection:
            owner = connection.execute(select(locks.c.owner).where(locks.c.target == target)).scalar()
            if owner is None:
                return False
            connection.execute(delete(locks).where(locks.c.target == target))
            sentence = f"{by} broke the lock of {owner} on {target}: {reason}"
            self.note(connection, sentence, "release_lock", by, target)
        return True

    def note(
        self,
        connection: Connection,
        sentence: str,
        code: str,
        by: str,
        target: str | None = None,
        more: Mapping[str, Value] = MappingProxyType({}),
    ) -> None:
        """Count the version on and append who did what to the chain."""
        connection.execute(update(meta).values(version=meta.c.version + 1))
        version = connection.execute(select(meta.c.version)).scalar_one()
        line = Entry("operator", sentence, target=target, code=code, data={"by": by, **more})
        chain.append(connection, self.clock(), version, (line,))
