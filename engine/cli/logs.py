"""Logs: key=value lines on stderr, in colour on a terminal; `MENDBOOK_LOG` sets the level."""

from __future__ import annotations

import logging
import os
import sys


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
