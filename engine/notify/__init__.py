"""Telling people: what the record says of interest, in a few lines, by whatever way they want to be reached."""

from engine.notify.outbox import Line, Outbox
from engine.notify.words import compose, together

__all__ = ["Line", "Outbox", "compose", "together"]
