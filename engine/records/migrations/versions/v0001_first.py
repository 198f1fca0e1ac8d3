"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def words(name: str, *, null: bool = False) -> sa.Column[str]:
    """Return a column of text."""
    return sa.Column(name, sa.Text(), nullable=null)


def seconds(name: str, *, null: bool = False) -> sa.Column[float]:
    """Return a column of times."""
    return sa.Column(name, sa.Float(53), nullable=null)


def nested(name: str, *, null: bool = False) -> sa.Column[Any]:
    """Return a column of JSON."""
    return sa.Column(name, sa.JSON(), nullable=null)


def whole(name: str, *, null: bool = False) -> sa.Column[int]:
    """Return a column of whole numbers."""
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=null)


def flag(name: str, *, null: bool = False) -> sa.Column[bool]:
    """Return a column of booleans."""
    return sa.Column(name, sa.Boolean(), nullable=null)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "alerts",
        whole("position"),
        words("fingerprint"),
        words("runbook"),
        words("name"),
        nested("labels"),
        words("target", null=True),
        words("state"),
        nested("value"),
        seconds("active_since"),
        seconds("last_true"),
        seconds("last_seen"),
        seconds("fired_at", null=True),
        seconds("ended_at", null=True),
        nested("annotations"),
        words("condition"),
        words("reason"),
        nested("rest"),
        sa.PrimaryKeyConstraint("position", name="pk_alerts"),
    )
    op.create_index("ix_alerts_fingerprint", "alerts", ["fingerprint"])
    op.create_table(
        "attempts",
        words("id"),
        words("incident"),
        words("runbook"),
        words("digest"),
        whole("rung"),
        words("remedy"),
        words("culprit", null=True),
        words("execution"),
        seconds("started_at"),
        seconds("ended_at", null=True),
        words("outcome", null=True),
        words("target"),
        flag("unproved"),
        nested("rest"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_incident", "attempts", ["incident"])
    op.create_index("ix_attempts_started_at", "attempts", ["started_at"])
    op.create_table(
        "entries",
        whole("number"),
        seconds("at"),
        whole("version"),
        words("kind"),
        words("sentence"),
        words("incident", null=True),
        words("target", null=True),
        words("runbook", null=True),
        words("code"),
        nested("data"),
        words("decision", null=True),
        nested("verdicts", null=True),
        nested("rest"),
        words("previous"),
        words("hash"),
        sa.PrimaryKeyConstraint("number", name="pk_entries"),
    )
    op.create_index("ix_entries_at", "entries", ["at"])
    op.create_index("ix_entries_incident", "entries", ["incident"])
    op.create_index("ix_entries_target", "entries", ["target"])
    op.create_table(
        "events",
        words("execution"),
        whole("number"),
        seconds("at"),
        words("kind"),
        whole("step"),
        words("host"),
        words("task"),
        words("text"),
        nested("data"),
        nested("rest"),
        sa.PrimaryKeyConstraint("execution", "number", name="pk_events"),
    )
    op.create_table(
        "executions",
        words("id"),
        words("attempt"),
        words("incident"),
        words("runbook"),
        words("digest"),
        words("remedy"),
        words("target"),
        nested("steps"),
        words("state"),
        seconds("created_at"),
        seconds("started_at", null=True),
        seconds("ended_at", null=True),
        flag("check"),
        flag("diff"),
        words("triggered_by"),
        words("reason"),
        words("message"),
        nested("rest"),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
    )
    op.create_index("ix_executions_created_at", "executions", ["created_at"])
    op.create_index("ix_executions_incident", "executions", ["incident"])
    op.create_index("ix_executions_state", "executions", ["state"])
    op.create_table(
        "fleet",
        words("name"),
        sa.PrimaryKeyConstraint("name", name="pk_fleet"),
    )
    op.create_table(
        "incidents",
        words("id"),
        words("target"),
        words("resource"),
        words("state"),
        seconds("opened_at"),
        words("culprit", null=True),
        words("runbook", null=True),
        nested("fault", null=True),
        seconds("first_active"),
        seconds("localized_at", null=True),
        seconds("changed_at"),
        seconds("ended_at", null=True),
        words("outcome", null=True),
        nested("attempt", null=True),
        whole("rung"),
        nested("progress"),
        words("code"),
        words("reason"),
        words("triggered_by"),
        words("request", null=True),
        words("acknowledged_by", null=True),
        flag("trigger_cleared"),
        whole("reopened"),
        nested("rest"),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_ended_at", "incidents", ["ended_at"])
    op.create_index("ix_incidents_opened_at", "incidents", ["opened_at"])
    op.create_index("ix_incidents_state", "incidents", ["state"])
    op.create_index("ix_incidents_target", "incidents", ["target"])
    op.create_table(
        "locks",
        words("target"),
        words("owner"),
        seconds("taken_at"),
        words("reason"),
        nested("rest"),
        sa.PrimaryKeyConstraint("target", name="pk_locks"),
    )
    op.create_index("ix_locks_owner", "locks", ["owner"])
    op.create_table(
        "meta",
        whole("id"),
        whole("version"),
        words("record_id"),
        words("inode", null=True),
        seconds("last_tick", null=True),
        whole("entries"),
        words("chain"),
        sa.PrimaryKeyConstraint("id", name="pk_meta"),
    )
    op.create_table(
        "pauses",
        words("scope"),
        words("by"),
        words("reason"),
        seconds("since"),
        seconds("until", null=True),
        nested("rest"),
        sa.PrimaryKeyConstraint("scope", name="pk_pauses"),
    )
    op.create_table(
        "requests",
        words("id"),
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
        flag("finished"),
        words("result"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index("ix_requests_finished", "requests", ["finished"])
    op.create_table(
        "execution_targets",
        words("execution"),
        words("target"),
        flag("active"),
        sa.PrimaryKeyConstraint("execution", "target", name="pk_execution_targets"),
        sa.ForeignKeyConstraint(["execution"], ["executions.id"], name="fk_execution_targets_execution"),
    )
    op.create_index("ix_execution_targets_target", "execution_targets", ["target"])
    op.create_index(
        "one_active_execution_per_target",
        "execution_targets",
        ["target"],
        unique=True,
        sqlite_where=sa.text("active"),
        postgresql_where=sa.text("active"),
    )
