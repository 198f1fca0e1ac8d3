"""Logs: key=value lines on stderr, in colour on a terminal; `MENDBOOK_LOG` sets the level."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import TextIO, cast


class Unfailing(io.TextIOBase):
    """Writes to a stream; what it does not take is dropped.

    A log on a full disk must not end the thread that wants to say that the disk is full.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write if that is possible."""
        try:
            return self.stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        try:
            self.stream.flush()
        except (OSError, ValueError):
            return


def configure() -> None:
    """Have everything that is logged go to stderr; below the level `MENDBOOK_LOG` (default: info) it goes nowhere."""
    import structlog

    level = logging.getLevelNamesMapping().get(os.environ.get("MENDBOOK_LOG", "info").upper(), logging.INFO)
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(
                colors=colours, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
            if colours
            else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
