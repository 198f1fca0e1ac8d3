"""The steps from one schema to the next, run by Alembic when a stored record is older than the code."""
