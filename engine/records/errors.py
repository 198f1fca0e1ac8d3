"""What can be wrong with the record, said so that a person can act on it."""

from __future__ import annotations


class RecordError(Exception):
    """The record could not be read or written; `fix` says what a person can do. Nothing was stored."""

    def __init__(self, message: str, *, path: str, fix: str) -> None:
        super().__init__(f"{path}: {message}; {fix}")
        self.message = message
        self.path = path
        self.fix = fix


class RecordUnavailableError(RecordError):
    """The record is locked, or its server is away: trying again later can help. Nothing is known to be stored."""


class ReadOnlyError(RecordError):
    """The record is there, and may not be written from here."""
