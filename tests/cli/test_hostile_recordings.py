"""What `mendbook localize` makes of files that are broken, hostile or not what they are taken for: one sentence, never a trace."""

from __future__ import annotations

import gzip
import os

import pytest

from tests.cli.cli_project import Project
from tests.cli.test_cli_localize import EDGES, recording


@pytest.mark.parametrize("scale", [1e3, 1e9, 1e290, -1e9])
def test_times_that_no_clock_knows_are_refused_with_what_they_should_be(empty: Project, scale: float) -> None:
    head, *rows = recording().splitlines()
    cells = (row.split(",", 1) for row in rows)
    empty.write("day.csv", "\n".join([head, *(f"{float(time) * scale},{rest}" for time, rest in cells)]))

    result = empty.run("localize", "--input", "day.csv")

    assert result.code == 1
    assert "is no time; times are seconds since the epoch, not milliseconds" in result.err
    assert "Origin: day.csv:2" in result.err


@pytest.mark.parametrize("time", ["-62135510400", "253402214400"])
def test_the_earliest_and_the_latest_times_are_told_of(empty: Project, time: str) -> None:
    empty.write("day.csv", f"time,web|cpu\n{time},1\n")

    result = empty.run("localize", "--input", "day.csv")

    assert result.code == 0
    assert "nothing unusual" in result.out


@pytest.mark.parametrize("option", ["--input", "--edges"])
def test_a_compressed_file_with_damage_in_its_middle_is_refused(empty: Project, option: str) -> None:
    empty.write("day.csv", recording())
    whole = gzip.compress((recording() if option == "--input" else EDGES).encode() * 40)
    (empty.root / "torn.csv.gz").write_bytes(whole[:40] + bytes(255 - each for each in whole[40:60]) + whole[60:])
    files = ["--input", "torn.csv.gz"] if option == "--input" else ["--input", "day.csv", "--edges", "torn.csv.gz"]

    result = empty.run("localize", *files)

    assert result.code == 1
    assert "it cannot be read" in result.err
    assert "torn.csv.gz" in result.err


def test_a_folder_and_a_pipe_are_called_what_they_are(empty: Project) -> None:
    (empty.root / "folder.csv").mkdir()
    os.mkfifo(empty.root / "pipe.csv")

    folder, pipe = (empty.run("localize", "--input", f"{name}.csv") for name in ("folder", "pipe"))

    assert (folder.code, pipe.code) == (1, 1)
    assert "it is a folder" in folder.err
    assert "it is no regular file" in pipe.err


def test_edges_of_another_recording_are_said_to_be_that(empty: Project) -> None:
    empty.write("day.csv", recording())
    empty.write("calls.csv", "caller,callee\nweb,\x1b[31mdb\n")

    result = empty.run("localize", "--input", "day.csv", "--edges", "calls.csv")

    assert result.code == 0
    assert "calls.csv names no node of the recording: it has ads, front, shop" in result.err
    assert "\x1b" not in result.err
