"""The page of a scorecard."""

from __future__ import annotations

from engine.chaos.scorecard import Card


def page(card: Card) -> str:
    """Return the page as HTML, complete in itself."""
    return f"<!doctype html><title>Drills</title><p>{len(card.results)} drills"
