"""Silences; who leads; the oldest events are found by their time; whole numbers have 64 bits everywhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = {
    "alerts": ("position",),
    "attempts": ("rung",),
    "entries": ("number", "version"),
    "events": ("number", "step"),
    "incidents": ("rung", "reopened"),
    "meta": ("id", "version", "entries"),
}


def upgrade() -> None:
    """Add the table, the column and the index; SQLite's integers are wide enough."""
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(53), nullable=False),
        sa.Column("until", sa.Float(53), nullable=False),
        sa.Column("rest", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.add_column("meta", sa.Column("leader", sa.Text(), nullable=True))
    op.create_index("ix_events_at", "events", ["at"])
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in WHOLE.items():
            for column in columns:
                op.alter_column(table, column, type_=sa.BigInteger(), existing_nullable=False)
