"""What is shown of a tick cannot stop the engine."""

from __future__ import annotations

import pytest

from engine.cli.watch import Patient
from engine.controller import Tick
from engine.records.errors import RecordError

TICK = Tick(0.0, (), ())


def raising(error: Exception) -> Patient:
    """Return what shows ticks, and cannot."""

    def show(_: Tick) -> None:
        raise error

    return Patient(show)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RecordError("locked", path="record", fix="wait")]
)
def test_the_engine_goes_on_when_what_happens_cannot_be_shown(error: Exception) -> None:
    patient = raising(error)
    patient(TICK)
    patient(TICK)
    assert patient.failing == str(error)


def test_a_reader_that_went_away_ends_it() -> None:
    with pytest.raises(BrokenPipeError):
        raising(BrokenPipeError())(TICK)
