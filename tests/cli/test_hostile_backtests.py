"""What `mendbook backtest` makes of recordings and spans of time that cannot be meant."""

from __future__ import annotations

import time

import pytest

from tests.cli.cli_project import Project, collect

SERIES = 'memory_free_bytes{instance="web-1"}'


def test_one_wrong_time_in_a_recording_is_no_replay_of_ten_thousand_years(project: Project) -> None:
    project.write("samples.om", f"{SERIES} 50 -60000000000\n{SERIES} 50 250000000000\n# EOF\n")

    result = project.run("backtest", "memory-short", "--input", "samples.om")

    assert result.code == 64
    assert "moments to be judged" in result.err
    assert "--since and --until" in result.err


def test_an_interval_of_next_to_nothing_is_refused(project: Project) -> None:
    collect(project.root, time.time(), minutes=200)

    result = project.run("backtest", "memory-short", "--interval", "1ms")

    assert result.code == 64
    assert "fewer moments with --interval" in result.err


@pytest.mark.parametrize("at", ["-62135596800", "-62135683200", "253402300799"])
def test_times_at_the_edge_of_the_calendar_are_refused_with_their_line(project: Project, at: str) -> None:
    project.write("samples.om", f"{SERIES} 50 1795000000\n{SERIES} 50 {at}\n# EOF\n")

    result = project.run("backtest", "memory-short", "--input", "samples.om")

    assert result.code == 1
    assert f"no time of ours: {at}" in result.err
    assert "Origin: samples.om:2" in result.err


@pytest.mark.parametrize("further", [(), ("--until", "1970-01-02")])
def test_a_beginning_before_all_calendars_is_told_of(project: Project, further: tuple[str, ...]) -> None:
    collect(project.root, time.time())

    result = project.run("backtest", "memory-short", "--since", f"{'9' * 40}y", *further)

    assert result.code in {0, 75}
    assert "long ago" in result.out or "there are no samples in that time" in result.err
