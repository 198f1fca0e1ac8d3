"""Settings that were written after the engine began: whoever looks is told that it goes by the old ones."""

from __future__ import annotations

import os
import time

from engine.app import App
from tests.cli.cli_project import Project

OLD = (
    "mendbook.yml changed since the engine began: if it has no mistake, modes, params, limits, approval, protected and canaries "
    "count already, all else counts from its restart on"
)


def write_later(project: Project) -> None:
    """Let mendbook.yml be of a time after anything that begins now."""
    later = time.time() + 60
    os.utime(project.root / "mendbook.yml", (later, later))


def test_whoever_looks_is_told_that_the_engine_goes_by_older_settings(project: Project) -> None:
    with App.open(project.root) as app:
        app.lead()
        assert "changed" not in project.run("status").out + project.run("why", "web-1").err + project.run("doctor").out
        write_later(project)
        assert f"settings   {OLD}\n" in project.run("status").out
        assert OLD in project.run("why", "web-1").err
        assert OLD not in project.run("why", "web-1", "--at", "-5m").err
        checked = project.run("doctor")
        assert f"{OLD}\n" in checked.out
        assert checked.code == 0


def test_without_an_engine_settings_are_never_old(project: Project) -> None:
    write_later(project)
    assert OLD not in project.run("status").out + project.run("why", "web-1").err + project.run("doctor").out


def test_the_engine_itself_says_once_that_its_settings_are_old(project: Project) -> None:
    project.write("mendbook.yml", "sources: {host: false}\nrunbooks: runbooks\ninterval: 50ms\n")
    write_later(project)
    watched = project.run("watch", "--lines", "--for", "3s")
    assert watched.code == 0, watched.err
    assert (watched.out + watched.err).count(OLD) == 1
