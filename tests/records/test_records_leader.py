"""One engine ticks on a record; the kernel knows which."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.records.errors import RecordError
from engine.records.leader import Leadership

KEEP = """
import sys
from engine.records.leader import Leadership
it = Leadership(sys.argv[1])
print(it.acquire(), flush=True)
input()
"""


def test_the_second_engine_is_refused_and_told_who_has_it(path: Path) -> None:
    before = time.time()
    with Leadership(path) as first:
        assert first.holder() is None
        assert first.acquire()
        assert first.acquire()
        second = Leadership(path)
        assert not second.acquire()
        holder = second.holder()
        assert holder is not None
        assert holder == first.holder()
        assert holder.pid == os.getpid()
        assert before - 1 <= holder.since <= time.time()
        assert f"process {os.getpid()} on " in str(holder)
    assert second.holder() is None
    assert second.acquire()
    second.release()


def test_a_killed_engine_leaves_the_record_free_whatever_its_file_says(path: Path) -> None:
    leadership = Leadership(path)
    with subprocess.Popen(
        [sys.executable, "-c", KEEP, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert not leadership.acquire()
        holder = leadership.holder()
        assert holder is not None
        assert holder.pid == child.pid
        child.kill()
    assert str(child.pid) in leadership.path.read_text()
    assert leadership.holder() is None
    assert leadership.acquire()
    leadership.release()


def test_a_forked_child_does_not_keep_its_dead_parents_lead(path: Path) -> None:
    leadership = Leadership(path)
    assert leadership.acquire()
    end, hold = os.pipe()
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        os.write(say, b"x")
        os.read(end, 1)  # lives until the parent is done
        os._exit(0)
    try:
        os.read(ready, 1)
        assert not Leadership(path).acquire()  # the child closing its copy has not freed it
        leadership.forget()  # what the kernel does with the files of a process that dies
        second = Leadership(path)
        assert second.acquire()
        second.release()
    finally:
        os.close(hold)
        os.waitpid(child, 0)
        for descriptor in (end, ready, say):
            os.close(descriptor)


def test_those_who_ask_do_not_keep_an_engine_from_starting(path: Path) -> None:
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            Leadership(path).holder()

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(30):
            leadership = Leadership(path)
            assert leadership.acquire()
            leadership.release()
    finally:
        over.set()
        for asker in askers:
            asker.join()


def test_the_lock_is_its_owners_alone(path: Path) -> None:
    with Leadership(path) as leadership:
        assert leadership.acquire()
        assert leadership.path.stat().st_mode & 0o777 == 0o600
        assert leadership.path.name == "record.db.lock"


def test_a_lock_that_cannot_be_made_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="check the path and its rights"):
        Leadership(tmp_path / "file" / "record.db").acquire()
