"""What can happen to a record while an engine works: nothing is lost, nothing doubled, and it says what is the matter."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.watched import PROGRAM, TURNED, Watched
from tests.lab_tools.postgres_server import PostgresServer, missing

pytestmark = pytest.mark.e2e


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes where the engine keeps its state."""
    folder = tmp_path / "state"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root and mount(8)")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_record_that_someone_keeps_locked_is_waited_for_and_told(watched: Watched) -> None:
    watched.start()
    watched.until(lambda: watched.ticked() > 0, "ticking")
    locker = sqlite3.connect(watched.where)
    locker.execute("BEGIN IMMEDIATE")
    try:
        watched.breaks()
        watched.until(lambda: "another process keeps the record locked" in watched.said(), "telling of the lock")
        assert watched.broken.exists()  # what cannot be committed is not begun
    finally:
        locker.rollback()
        locker.close()
    watched.until(lambda: watched.healed(1), "healed")
    assert "ticking again" in watched.said()
    watched.stop()
    watched.check(1)


def test_an_engine_that_cannot_begin_for_a_lock_says_so_with_the_code_of_what_is_unavailable(watched: Watched) -> None:
    Path(watched.where).parent.mkdir()
    locker = sqlite3.connect(watched.where)
    locker.execute("CREATE TABLE keep (it)")
    locker.execute("DROP TABLE keep")
    locker.execute("BEGIN EXCLUSIVE")
    try:
        told = watched.run("watch", "--lines", "--for", "1s")
    finally:
        locker.rollback()
        locker.close()
    assert told.returncode == 75, told.stderr
    assert "another process keeps the record locked" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_disk_that_is_full_holds_everything_and_is_told_and_the_engine_goes_on_when_there_is_room(
    small: Path, watched: Watched
) -> None:
    watched.start()
    watched.until(lambda: watched.ticked() > 0, "ticking")
    ballast = small / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    watched.breaks()
    watched.until(lambda: "No space left" in watched.said() or "is full" in watched.said(), "telling of the disk")
    assert watched.broken.exists()
    looked = watched.run("status")
    assert looked.returncode == 0, looked.stderr
    ballast.unlink()
    watched.until(lambda: watched.healed(1), "healed")
    watched.stop()
    watched.check(1)


def test_on_a_disk_that_takes_no_writes_people_can_look_and_an_engine_does_not_begin(
    small: Path, watched: Watched
) -> None:
    watched.start()
    watched.until(lambda: watched.ticked() > 0, "ticking")
    watched.breaks()
    watched.until(lambda: watched.healed(1), "healed")
    watched.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    for command in (["status"], ["incidents"], ["runs"], ["locks"], ["why", "node-1"], ["audit-log", "verify"]):
        told = watched.run(*command)
        assert told.returncode == 0, (command, told.stderr)
        assert "Traceback" not in told.stderr
    assert "it is shown as it stands" in watched.run("status").stderr
    refused = watched.run("watch", "--lines", "--for", "1s")
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    watched.start()
    watched.breaks()
    watched.until(lambda: watched.healed(2), "healed again")
    watched.stop()
    watched.check(2)


def test_a_clock_that_is_set_back_an_hour_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Watched(tmp_path, program=TURNED + PROGRAM) as watched:
        watched.start()
        watched.until(lambda: watched.ticked() > 0, "ticking")
        watched.breaks()
        watched.until(lambda: watched.healed(1), "healed")
        watched.breaks()
        (tmp_path / "turned").write_text("-3600")
        watched.until(lambda: "the wall clock jumped" in watched.said(), "telling of the clock")
        watched.until(lambda: watched.healed(2), "healed with the clock set back")
        watched.stop(signal.SIGKILL)
        watched.breaks()
        watched.start()  # which knows the new time only, and finds a record and samples from the future
        watched.until(lambda: "samples are from the future" in watched.said(), "telling of the samples")
        assert watched.run("audit-log", "verify").returncode == 0
        assert watched.broken.exists()  # without samples of now it judges nothing
        watched.stop()
        (tmp_path / "turned").unlink()
        watched.start()
        watched.until(lambda: watched.healed(3), "healed with the clock set right")
        watched.stop()
        watched.check(3)


@pytest.mark.lab
def test_a_postgresql_server_that_is_restarted_in_the_middle_holds_everything_up_and_nothing_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    if reason := missing():
        pytest.skip(reason)
    server = PostgresServer().start()
    try:
        with Watched(tmp_path, server.url()) as watched:
            watched.start()
            watched.until(lambda: "watching" in watched.said() and watched.ticked() > 0, "ticking")
            second = watched.run("watch", "--lines", "--for", "1s")
            assert second.returncode == 75
            assert "another engine works on postgresql://" in second.stderr
            assert f"process {watched.engine.pid} on " in second.stderr  # type: ignore[union-attr]
            for turn, number in enumerate((signal.SIGINT, signal.SIGQUIT), start=1):
                watched.breaks()
                server.stop(number)
                told = watched.said().count("there is no connection to its server")
                watched.until(
                    lambda told=told: watched.said().count("there is no connection to its server") > told,
                    "telling of the server",
                )
                server.start()
                watched.until(lambda turn=turn: watched.healed(turn), "healed")
            watched.stop()
            watched.check(2)
            assert not (tmp_path / "state" / "record.sqlite3").exists()
            assert watched.run("doctor").returncode in (0, 1)
            assert "the chain holds" in watched.run("doctor").stdout
    finally:
        server.close()
