"""Host variables and zones that are not what they seem: what cannot be told holds, and never keeps the engine from ticking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.core import guards, room, trust
from engine.core.intake import overtaken
from engine.model.labels import Labels
from engine.model.runbook import Catalog, Guards, Hours, Window
from engine.model.standing import Standing
from engine.model.target import Fleet
from tests.core.cases_of import NOW, case_of, execution_of
from tests.fakes.world import runbook


def racked(own: str, other: str) -> guards.Case:
    """Return a case for web-0 beside a run on web-1, each in a rack."""
    case = case_of(runbook(guards=Guards(serial="rack")), standing=Standing(executions=(execution_of("web-1"),)))
    racks = {"web-0": own, "web-1": other}
    fleet = Fleet(
        {
            each.name: replace(each, variables=Labels({"rack": racks[each.name]}) if each.name in racks else Labels())
            for each in case.fleet
        }
    )
    return replace(case, fleet=fleet)


@pytest.mark.parametrize(
    ("own", "other", "code"),
    [
        ("eu-a", "eu-b", "ok"),
        ("eu-a", "eu-a", "serial"),
        ("{{ site }}-a", "eu-a", "serial_unknown"),
        ("eu-a", "{{ site }}-a", "serial_unknown"),
        ("{% if x %}a{% endif %}", "{{ y }}", "serial_unknown"),
        ("ä\u200b", "ä", "ok"),
        ("true", "true", "serial"),
    ],
)
def test_a_rack_that_is_a_template_is_no_rack_to_be_serial_by(own: str, other: str, code: str) -> None:
    assert room.serial(racked(own, other)).code == code


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "Europe", "UTC\0", ""])
@pytest.mark.parametrize("wall", [NOW, 1e18, -1e18, float("nan")])
def test_a_window_whose_zone_is_none_is_closed_for_guards_and_for_what_was_never_begun(zone: str, wall: float) -> None:
    window = Window(only=(Hours("", frozenset(range(7)), 0, 1440, zone),))
    book = runbook(guards=Guards(window=window))
    verdict = trust.window(replace(case_of(book), now=wall))
    assert (verdict.allowed, verdict.code) == (False, "window_unknown")
    waiting = execution_of("web-0")
    assert overtaken(Standing(), waiting, Catalog((book,)), NOW, wall) == "its window has closed"
