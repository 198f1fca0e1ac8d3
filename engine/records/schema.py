"""The tables of the record: a column for what is searched or read by eye, JSON for what is nested.

A noun's field that has no column of its own is kept in `rest`; so a field can be added to a noun without a migration.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    text,
)

VERSIONS = ("0001", "0002")
"""Every version of the schema, oldest first: the names of the steps in `migrations/versions`."""
HEAD = VERSIONS[-1]
VERSION_TABLE = "alembic_version"
MARK = "\x01"
WHOLE = Integer().with_variant(BigInteger(), "postgresql")  # what SQLite calls an integer has 64 bits

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


class Words(TypeDecorator[str]):
    """Text that comes back as it was, also where a database would refuse it: NUL, and halves of surrogate pairs."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  the base's signature
        """Return text that any database takes."""
        if value is None:
            return None
        plain = "\x00" not in value and not value.startswith(MARK) and encodable(value)
        return value if plain else MARK + json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  likewise
        """Return the text that was stored."""
        return unmarked(value)


class Seconds(TypeDecorator[float]):
    """A time or a span in seconds; infinity comes back as itself."""

    impl = Float(53)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> float | None:  # noqa: ARG002  the base's signature
        """Return the number, also of "Inf"."""
        return None if value is None else float(value)


def unmarked(value: str | None) -> str | None:
    """Return the text that a database holds in the form that any database takes."""
    if value is None or not value.startswith(MARK):
        return value
    return str(json.loads(value.removeprefix(MARK)))


def encodable(value: str) -> bool:
    """Return whether text can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def words(name: str, *, key: bool = False, needed: bool = True, index: bool = False) -> Column[str]:
    """Return a column of text."""
    return Column(name, Words(), primary_key=key, nullable=not (needed or key), index=index)


def seconds(name: str, *, needed: bool = True, index: bool = False) -> Column[float]:
    """Return a column of times."""
    return Column(name, Seconds(), nullable=not needed, index=index)


def nested(name: str, *, needed: bool = True) -> Column[Any]:
    """Return a column of JSON."""
    return Column(name, JSON(none_as_null=True), nullable=not needed)


def whole(name: str, *, key: bool = False) -> Column[int]:
    """Return a column of whole numbers that the database does not make up itself."""
    return Column(name, WHOLE, primary_key=key, autoincrement=False, nullable=False)


def flag(name: str) -> Column[bool]:
    """Return a column of booleans."""
    return Column(name, Boolean, nullable=False)


meta = Table(
    "meta",
    METADATA,
    whole("id", key=True),  # there is one row, 1
    whole("version"),
    words("record_id"),
    words("inode", needed=False),
    seconds("last_tick", needed=False),
    whole("entries"),  # how long the chain is, and its last hash: a chain cut short at its end shows too
    words("chain"),
    words("leader", needed=False),  # the term of the engine that leads: no other's plans are taken, where it is set
)
fleet = Table("fleet", METADATA, words("name", key=True))
alerts = Table(
    "alerts",
    METADATA,
    whole("position", key=True),
    words("fingerprint", index=True),
    words("runbook"),
    words("name"),
    nested("labels"),
    words("target", needed=False),
    words("state"),
    nested("value"),
    seconds("active_since"),
    seconds("last_true"),
    seconds("last_seen"),
    seconds("fired_at", needed=False),
    seconds("ended_at", needed=False),
    nested("annotations"),
    words("condition"),
    words("reason"),
    nested("rest"),
)
incidents = Table(
    "incidents",
    METADATA,
    words("id", key=True),
    words("target", index=True),
    words("resource"),
    words("state", index=True),
    seconds("opened_at", index=True),
    words("culprit", needed=False),
    words("runbook", needed=False),
    nested("fault", needed=False),
    seconds("first_active"),
    seconds("localized_at", needed=False),
    seconds("changed_at"),
    seconds("ended_at", needed=False, index=True),
    words("outcome", needed=False),
    nested("attempt", needed=False),
    whole("rung"),
    nested("progress"),
    words("code"),
    words("reason"),
    words("triggered_by"),
    words("request", needed=False),
    words("acknowledged_by", needed=False),
    flag("trigger_cleared"),
    whole("reopened"),
    nested("rest"),
)
attempts = Table(
    "attempts",
    METADATA,
    words("id", key=True),
    words("incident", index=True),
    words("runbook"),
    words("digest"),
    whole("rung"),
    words("remedy"),
    words("culprit", needed=False),
    words("execution"),
    seconds("started_at", index=True),
    seconds("ended_at", needed=False),
    words("outcome", needed=False),
    words("target"),
    flag("unproved"),
    nested("rest"),
)
executions = Table(
    "executions",
    METADATA,
    words("id", key=True),
    words("attempt"),
    words("incident", index=True),
    words("runbook"),
    words("digest"),
    words("remedy"),
    words("target"),
    nested("steps"),
    words("state", index=True),
    seconds("created_at", index=True),
    seconds("started_at", needed=False),
    seconds("ended_at", needed=False),
    flag("check"),
    flag("diff"),
    words("triggered_by"),
    words("reason"),
    words("message"),
    nested("rest"),
)
execution_targets = Table(
    "execution_targets",
    METADATA,
    Column("execution", Words(), ForeignKey("executions.id"), nullable=False),
    words("target", index=True),
    flag("active"),
    PrimaryKeyConstraint("execution", "target"),
)
Index(  # two executions never run on one target, whatever the code above believes
    "one_active_execution_per_target",
    execution_targets.c.target,
    unique=True,
    sqlite_where=text("active"),
    postgresql_where=text("active"),
)
locks = Table(
    "locks",
    METADATA,
    words("target", key=True),
    words("owner", index=True),
    seconds("taken_at"),
    words("reason"),
    nested("rest"),
)
pauses = Table(
    "pauses",
    METADATA,
    words("scope", key=True),
    words("by"),
    words("reason"),
    seconds("since"),
    seconds("until", needed=False),
    nested("rest"),
)
silences = Table(
    "silences",
    METADATA,
    words("id", key=True),
    words("selector"),
    words("by"),
    words("reason"),
    seconds("since"),
    seconds("until"),
    nested("rest"),
)
requests = Table(
    "requests",
    METADATA,
    words("id", key=True),
    words("kind"),
    words("by"),
    words("reason"),
    seconds("at"),
    words("subject"),
    nested("targets"),
    flag("check"),
    flag("diff"),
    nested("vars"),
    nested("rest"),
    Column("finished", Boolean, nullable=False, index=True),
    words("result"),
)
events = Table(
    "events",
    METADATA,
    words("execution"),
    whole("number"),
    seconds("at", index=True),  # the oldest are found without a look at the others
    words("kind"),
    whole("step"),
    words("host"),
    words("task"),
    words("text"),
    nested("data"),
    nested("rest"),
    PrimaryKeyConstraint("execution", "number"),
)
entries = Table(
    "entries",
    METADATA,
    whole("number", key=True),
    seconds("at", index=True),
    whole("version"),
    words("kind"),
    words("sentence"),
    words("incident", needed=False, index=True),
    words("target", needed=False, index=True),
    words("runbook", needed=False),
    words("code"),
    nested("data"),
    words("decision", needed=False),  # run, hold or escalate, with what each guard said
    nested("verdicts", needed=False),
    nested("rest"),
    words("previous"),
    words("hash"),
)
JSON_COLUMNS = tuple(column.name for column in entries.columns if isinstance(column.type, JSON))
