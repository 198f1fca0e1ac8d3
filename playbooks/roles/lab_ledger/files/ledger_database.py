"""The ledger's one way to the database: a transaction is tried once, has a deadline, and ends in an answer or an error."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions as driver
from ledger_words import Refused, Settings, Transfer

T = TypeVar("T")
# Indexes would answer without a look at the tables, and damage in them would stay unseen.
SCAN = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = 8000; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
SELECT (SELECT coalesce(sum(balance), 0)::bigint FROM accounts), (SELECT count(*) FROM accounts), (SELECT count(*) FROM transfers);
"""


class Unconfirmed(psycopg2.OperationalError):
    """The commit was made on one machine, but nobody else confirmed it: it is not acknowledged."""


class Deadline(threading.local):
    """Until when this thread waits for the database, on the monotonic clock."""

    at = 0.0


DEADLINE = Deadline()


def wait(connection: Any) -> None:
    """Wait for the database's answer, but not beyond the thread's deadline: a server that hangs is as bad as none."""
    while (state := connection.poll()) != driver.POLL_OK:
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == driver.POLL_READ else select.POLLOUT)
        left = DEADLINE.at - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise psycopg2.OperationalError("the database did not answer in time")


class Session:
    """One thread's connection to whichever server accepts writes; made anew after any failure."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hosts = list(settings.hosts)
        self.connection: Any = None

    def connect(self) -> None:
        """Connect to the first server that accepts writes, beginning with the last that did. Raises psycopg2.Error."""
        end = DEADLINE.at
        reasons = []
        for host in list(self.hosts):
            DEADLINE.at = min(end, time.monotonic() + 2)
            try:
                self.connection = psycopg2.connect(
                    host=host,
                    port=self.settings.database_port,
                    dbname=self.settings.database,
                    user=self.settings.user,
                    password=self.settings.password or None,
                    target_session_attrs="read-write",
                    connect_timeout=2,
                    application_name=f"ledger-{self.settings.node}",
                    options="-c statement_timeout=3000 -c client_min_messages=warning",
                )
            except psycopg2.Error as error:
                reasons.append(str(error).strip())
                continue
            finally:
                DEADLINE.at = end
            self.hosts.sort(key=lambda other, found=host: other != found)
            return
        raise psycopg2.OperationalError("; ".join(reasons))

    def stale(self) -> bool:
        """Whether an idle connection has something to say: nearly always that it has ended, and never anything that is missed."""
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Let go of the connection."""
        if self.connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self.connection.close()
        self.connection = None

    def transact(self, work: Callable[[Any], T], seconds: float = 4.0) -> T:
        """Return what the work returned, once it is committed here and on another machine. Tried once. Raises psycopg2.Error."""
        DEADLINE.at = time.monotonic() + seconds
        try:
            if self.connection is not None and self.stale():
                self.close()
            if self.connection is None:
                self.connect()
            with self.connection.cursor() as cursor:
                result = work(cursor)
            self.connection.notices.clear()
            self.connection.commit()
            if (
                self.connection.notices
            ):  # "canceling wait for synchronous replication" comes as a warning beside success
                raise Unconfirmed(" ".join(self.connection.notices).strip())
        except Refused:
            self.connection.rollback()
            raise
        except psycopg2.Error:
            self.close()
            raise
        return result


def move(cursor: Any, transfer: Transfer) -> bool:
    """Make the transfer, and return whether it had been made before. Raises Refused."""
    cursor.execute(
        "INSERT INTO transfers (id, source, destination, amount) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
        (transfer.id, transfer.source, transfer.destination, transfer.amount),
    )
    if cursor.rowcount == 0:
        cursor.execute("SELECT source, destination, amount FROM transfers WHERE id = %s", (transfer.id,))
        if cursor.fetchone() != (transfer.source, transfer.destination, transfer.amount):
            raise Refused(409, "another transfer has this id")
        confirm(cursor)  # the first try may have been committed here and nowhere else
        return True
    # Locked in the order of their numbers, so that two transfers in opposite directions never wait for each other.
    cursor.execute(
        "SELECT id, balance FROM accounts WHERE id IN (%s, %s) ORDER BY id FOR UPDATE",
        (transfer.source, transfer.destination),
    )
    balances = dict(cursor.fetchall())
    if len(balances) != 2:
        raise Refused(404, "there is no such account")
    if balances[transfer.source] < transfer.amount:
        raise Refused(422, "the source has less than that")
    cursor.execute(
        "UPDATE accounts SET balance = balance + CASE id WHEN %s THEN -%s ELSE %s END WHERE id IN (%s, %s)",
        (transfer.source, transfer.amount, transfer.amount, transfer.source, transfer.destination),
    )
    if cursor.rowcount != 2:
        raise psycopg2.InternalError("the accounts that were locked could not be changed")
    return False


def find(cursor: Any, transfer_id: str) -> dict[str, Any] | None:
    """Return a transfer that was made, or None. Neither is said while a commit that would make it may be waiting for the other machine."""
    cursor.execute("SELECT source, destination, amount, at FROM transfers WHERE id = %s", (transfer_id,))
    row = cursor.fetchone()
    confirm(cursor)
    if row is None:
        return None
    return {"id": transfer_id, "source": row[0], "destination": row[1], "amount": row[2], "at": row[3].isoformat()}


def scan(cursor: Any) -> tuple[int, int, int]:
    """Return the sum of all balances, and the numbers of accounts and transfers, as of one moment, from the tables themselves."""
    cursor.execute(SCAN)
    total, accounts, transfers = cursor.fetchone()
    return total, accounts, transfers


def confirm(cursor: Any) -> None:
    """Write something of no meaning, so that the commit waits until all that was committed before is on two machines."""
    cursor.execute("SELECT pg_logical_emit_message(true, 'ledger', '')")


def sqlstate_of(error: psycopg2.Error) -> str:
    """Return the server's five characters for what went wrong; 08000, connection exception, when it never said any."""
    return error.pgcode or "08000"
