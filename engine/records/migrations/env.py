"""Runs the steps in the transaction of whoever opened the record: all of them, or none."""

from __future__ import annotations

from alembic import context

from engine.records.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite changes a column by building the table anew
)
with context.begin_transaction():
    context.run_migrations()
