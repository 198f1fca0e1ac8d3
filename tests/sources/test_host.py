from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE
from engine.sources import machine
from engine.sources.host import HostSource
from engine.sources.processes import PAGE, TICKS, ProcessGroups
from engine.sources.units import SystemdUnits


def found(batch: Batch, name: str) -> dict[Labels, float]:
    values = dict(zip(batch.series, batch.values, strict=True))
    assert len(values) == len(batch.series)
    return {
        labels.without("__name__", "instance", "job"): value
        for labels, value in values.items()
        if labels["__name__"] == name
    }


def test_this_machine_is_seen_as_it_is():
    batch = HostSource("here").collect(5.0)
    assert batch.time == 5.0
    assert {(labels["instance"], labels["job"]) for labels in batch.series} == {("here", "node")}
    cpus = {labels["cpu"] for labels in found(batch, "node_cpu_seconds_total")}
    assert cpus == {str(number) for number in range(psutil.cpu_count())}
    assert found(batch, "node_memory_MemTotal_bytes") == {Labels(): psutil.virtual_memory().total}
    assert 0 < found(batch, "node_memory_MemAvailable_bytes")[Labels()] <= psutil.virtual_memory().total
    assert found(batch, "node_boot_time_seconds") == {Labels(): psutil.boot_time()}
    assert abs(found(batch, "node_time_seconds")[Labels()] - time.time()) < 60
    roots = {labels["mountpoint"]: size for labels, size in found(batch, "node_filesystem_size_bytes").items()}
    space = os.statvfs("/")
    assert roots["/"] == space.f_blocks * space.f_frsize
    assert Labels({"device": "lo"}) in found(batch, "node_network_receive_bytes_total")
    assert found(batch, "up") == {Labels(): 1}
    assert found(batch, "scrape_samples_scraped")[Labels()] == len(batch.series) - 3
    success = {labels["collector"]: value for labels, value in found(batch, "node_scrape_collector_success").items()}
    assert {"cpu", "meminfo", "filesystem", "netdev", "processes", "systemd"} <= set(success)
    assert success["processes"] == 1


def test_a_process_of_this_machine_is_counted_in_its_group_and_missed_when_it_has_ended(tmp_path):
    program = tmp_path / "one-with-a-rather-long-name"
    program.symlink_to(sys.executable)
    source = HostSource("here")
    before = source.collect(0.0)
    group = Labels({"groupname": program.name})
    with subprocess.Popen([program, "-c", "print(1, flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = source.collect(1.0)
        child.communicate(b"\n")
    after = source.collect(2.0)
    assert group not in found(before, "namedprocess_namegroup_num_procs")
    assert found(during, "namedprocess_namegroup_num_procs")[group] == 1
    assert found(during, "namedprocess_namegroup_memory_bytes")[group.with_({"memtype": "resident"})] > 1e6
    assert abs(found(during, "namedprocess_namegroup_oldest_start_time_seconds")[group] - time.time()) < 60
    assert found(after, "namedprocess_namegroup_num_procs")[group] is STALE


def test_a_collection_is_cheap():
    source = HostSource("here")
    source.collect(0.0)
    spent = []
    for number in range(5):
        begun = time.process_time()
        source.collect(number)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.05


def test_what_cannot_be_read_is_missing_and_the_rest_is_there(monkeypatch):
    source = HostSource("here")

    def broken():
        yield "node_cpu_seconds_total", (("cpu", "0"),), 1.0
        raise OSError("the disk of /proc has come loose")

    source._collectors["cpu"] = broken
    batch = source.collect(0.0)
    assert source.errors == {"cpu": "OSError: the disk of /proc has come loose"}
    assert found(batch, "node_scrape_collector_success")[Labels({"collector": "cpu"})] == 0
    assert found(batch, "node_memory_MemTotal_bytes")
    assert found(batch, "up") == {Labels(): 1}


def test_a_name_that_is_not_utf8_does_no_harm():
    source = HostSource("here")
    source._collectors = {"odd": lambda: [("node_filesystem_size_bytes", (("mountpoint", "/mnt/\udcff"),), 1.0)]}
    assert found(source.collect(0.0), "node_filesystem_size_bytes") == {Labels({"mountpoint": "/mnt/?"}): 1.0}


def test_file_systems_across_a_network_and_the_kernels_own_are_left_alone(monkeypatch):
    kind = type(psutil.disk_partitions(all=True)[0])

    def partition(mountpoint: str, fstype: str) -> object:
        return kind(f"dev{mountpoint}", mountpoint, fstype, "ro,noatime")

    mounts = [
        partition("/", "overlay"),
        partition("/tmp", "ext4"),
        partition("/usr", "nfs4"),
        partition("/usr/lib", "fuse.sshfs"),
        partition("/proc", "proc"),
        partition("/dev", "tmpfs"),
        partition("/etc/passwd", "ext4"),
        partition("/no/such/place", "ext4"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    figures = [(labels, value) for name, labels, value in machine.filesystems() if name == "node_filesystem_readonly"]
    assert [(dict(labels)["mountpoint"], value) for labels, value in figures] == [("/", 1.0), ("/tmp", 1.0)]


class Proc:
    """A folder like /proc with processes made to measure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "self").mkdir()

    def put(self, pid: int, comm: str, *, user: int = 0, system: int = 0, started: int = 50, vsize: int = 4096) -> None:
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        fields = [
            "S",
            "1",
            *["0"] * 9,
            str(user),
            str(system),
            *["0"] * 4,
            "2",
            "0",
            str(started),
            str(vsize),
            "3",
            "0",
        ]
        (folder / "stat").write_text(f"{pid} ({comm}) {' '.join(fields)}\n")
        (folder / "cmdline").write_bytes(b"/opt/bin/a-name-of-more-than-15\0--flag\0")

    def end(self, pid: int) -> None:
        for name in ("stat", "cmdline"):
            (self.path / str(pid) / name).unlink()
        (self.path / str(pid)).rmdir()


def readings(groups: ProcessGroups, suffix: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in labels): value
        for name, labels, value in groups.read()
        if name == f"namedprocess_namegroup_{suffix}"
    }


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


def test_processor_time_of_a_group_never_falls_while_it_lives(proc):
    groups = ProcessGroups(proc.path)
    proc.put(1, "web", user=500, system=40)
    proc.put(2, "web", user=100)
    assert readings(groups, "cpu_seconds_total") == {("web", "user"): 0, ("web", "system"): 0}
    proc.put(1, "web", user=600, system=50)
    proc.put(3, "web", user=7)
    assert readings(groups, "cpu_seconds_total") == {("web", "user"): 107 / TICKS, ("web", "system"): 10 / TICKS}
    proc.end(1)
    assert readings(groups, "cpu_seconds_total") == {("web", "user"): 107 / TICKS, ("web", "system"): 10 / TICKS}
    proc.put(2, "web", user=3, started=99)  # another process with the number of one that has ended
    assert readings(groups, "cpu_seconds_total")["web", "user"] == 110 / TICKS


def test_a_group_is_counted_whole_and_forgotten_with_its_last_process(proc):
    groups = ProcessGroups(proc.path)
    proc.put(1, "web", started=70)
    proc.put(2, "web", started=60)
    proc.put(3, "kworker/0:1", vsize=0)
    proc.put(4, "odd ) (name")
    assert readings(groups, "num_procs") == {("web",): 2, ("odd ) (name",): 1}
    assert readings(groups, "num_threads") == {("web",): 4, ("odd ) (name",): 2}
    assert readings(groups, "memory_bytes")["web", "resident"] == 6 * PAGE
    assert readings(groups, "oldest_start_time_seconds")["web",] == psutil.boot_time() + 60 / TICKS
    proc.end(1)
    proc.end(2)
    assert readings(groups, "num_procs") == {("odd ) (name",): 1}
    assert len(groups._processes) == 1


def test_a_name_cut_off_by_the_kernel_is_made_whole_and_another_program_changes_the_group(proc):
    groups = ProcessGroups(proc.path)
    proc.put(1, "sh")
    assert readings(groups, "num_procs") == {("sh",): 1}
    proc.put(1, "a-name-of-more-than-15"[:15])
    assert readings(groups, "num_procs") == {("a-name-of-more-than-15",): 1}
    proc.put(1, "z-name-of-more-than-15"[:15])
    assert readings(groups, "num_procs") == {("z-name-of-more-",): 1}


def test_the_number_of_groups_is_bounded(proc):
    groups = ProcessGroups(proc.path)
    for pid in range(300):
        proc.put(pid, f"p{pid}")
    assert len(readings(groups, "num_procs")) == 256


def systemctl(tmp_path: Path, script: str) -> SystemdUnits:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return SystemdUnits(program=str(program), running=tmp_path, wait=0.5)


def test_units_have_a_one_for_the_state_they_are_in(tmp_path):
    units = systemctl(
        tmp_path,
        """cat <<'END'
nginx.service          loaded    active   running Serves pages
getty@tty1.service     loaded    failed   failed  Getty on tty1 and more
gone.service           not-found inactive dead    gone.service
odd-\\x2d.mount         loaded    active   mounted /odd
short

END""",
    )
    figures = list(units.read())
    assert {labels for _, labels, value in figures if value} == {
        (("name", "nginx.service"), ("state", "active")),
        (("name", "getty@tty1.service"), ("state", "failed")),
        (("name", "odd-\\x2d.mount"), ("state", "active")),
    }
    assert len(figures) == 3 * 5


@pytest.mark.parametrize("script", ["exec sleep 60", "echo a loaded active running x; exit 1", "kill -9 $$"])
def test_a_systemctl_that_hangs_or_fails_is_an_error_in_time_and_not_asked_again_at_once(tmp_path, script):
    units = systemctl(tmp_path, f"echo asked >> {tmp_path}/log\n{script}")
    source = HostSource("here", units=units)
    begun = time.monotonic()
    batch = source.collect(0.0)
    source.collect(1.0)
    assert time.monotonic() - begun < 3
    assert "systemctl" in source.errors["systemd"]
    assert found(batch, "node_systemd_unit_state") == {}
    assert found(batch, "up") == {Labels(): 1}
    assert (tmp_path / "log").read_text() == "asked\n"


def test_without_systemd_there_are_no_units_and_that_is_no_error(tmp_path):
    units = SystemdUnits(program="/no/such/program", running=tmp_path / "missing")
    source = HostSource("here", units=units)
    assert found(source.collect(0.0), "node_systemd_unit_state") == {}
    assert "systemd" not in source.errors
