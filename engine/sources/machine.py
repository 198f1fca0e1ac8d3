"""What this machine is at, under node_exporter's names: processors, memory, file systems, disks, network, pressure."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

Figure = tuple[str, tuple[tuple[str, str], ...], float]
"""The name of a metric, its labels, and a value."""

CPU_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
PARTITION: Final = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
"""Block devices that only repeat another's figures, or are none."""
FIXED: Final = re.compile(
    "bcachefs|btrfs|erofs|exfat|ext2|ext3|ext4|f2fs|fuseblk|hfsplus|jfs|msdos|ntfs|ntfs3|reiserfs|tmpfs|ubifs|vfat|xfs|zfs"
)
"""Types of file systems on this machine's own media. Asking for the space of one across a network may never return."""
INTERNAL: Final = re.compile(r"/(dev|proc|sys|run/(credentials|user)/.+|var/lib/(docker|containers|kubelet)/.+)(/.*)?")
VMSTAT: Final = frozenset(("oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"))
PRESSURE: Final = (
    ("cpu", "some", "node_pressure_cpu_waiting_seconds_total"),
    ("io", "some", "node_pressure_io_waiting_seconds_total"),
    ("io", "full", "node_pressure_io_stalled_seconds_total"),
    ("memory", "some", "node_pressure_memory_waiting_seconds_total"),
    ("memory", "full", "node_pressure_memory_stalled_seconds_total"),
)


def cpu() -> Iterator[Figure]:
    """Yield the time that each processor spent in each mode, and how many wait to run."""
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        for mode in CPU_MODES:
            yield "node_cpu_seconds_total", (("cpu", str(number)), ("mode", mode)), getattr(times, mode, 0.0)
    for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
        yield f"node_load{minutes}", (), load
    for line in Path("/proc/stat").read_text().splitlines():
        match line.split():
            case ["ctxt", count]:
                yield "node_context_switches_total", (), float(count)
            case ["processes", count]:
                yield "node_forks_total", (), float(count)
            case ["procs_running" | "procs_blocked" as name, count]:
                yield f"node_{name}", (), float(count)


def memory() -> Iterator[Figure]:
    """Yield what the kernel says of memory and of paging."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        name = name.replace("(", "_").replace(")", "")
        match rest.split():
            case [kilobytes, "kB"]:
                yield f"node_memory_{name}_bytes", (), float(kilobytes) * 1024
            case [count]:
                yield f"node_memory_{name}", (), float(count)
    for line in Path("/proc/vmstat").read_text().splitlines():
        name, _, count = line.partition(" ")
        if name in VMSTAT:
            yield f"node_vmstat_{name}", (), float(count)


def filesystems() -> Iterator[Figure]:
    """Yield the space of the root and of every file system on this machine's own media."""
    mounted = {one.mountpoint: one for one in psutil.disk_partitions(all=True)}  # of two on one place the later is seen
    for mountpoint, one in mounted.items():
        if mountpoint != "/" and (not FIXED.fullmatch(one.fstype) or INTERNAL.fullmatch(mountpoint)):
            continue
        try:
            if not Path(mountpoint).is_dir():
                continue  # a container's single file, whose space is another's
            space = os.statvfs(mountpoint)
        except OSError:
            continue  # not for this user to see, or just gone
        labels = (("device", one.device), ("fstype", one.fstype), ("mountpoint", mountpoint))
        yield "node_filesystem_size_bytes", labels, float(space.f_blocks * space.f_frsize)
        yield "node_filesystem_free_bytes", labels, float(space.f_bfree * space.f_frsize)
        yield "node_filesystem_avail_bytes", labels, float(space.f_bavail * space.f_frsize)
        yield "node_filesystem_files", labels, float(space.f_files)
        yield "node_filesystem_files_free", labels, float(space.f_ffree)
        yield "node_filesystem_readonly", labels, float("ro" in one.opts.split(","))


def disks() -> Iterator[Figure]:
    """Yield what each whole disk has read and written, and how long that took."""
    for device, counted in (psutil.disk_io_counters(perdisk=True, nowrap=False) or {}).items():
        if PARTITION.fullmatch(device):
            continue
        labels = (("device", device),)
        yield "node_disk_reads_completed_total", labels, float(counted.read_count)
        yield "node_disk_writes_completed_total", labels, float(counted.write_count)
        yield "node_disk_read_bytes_total", labels, float(counted.read_bytes)
        yield "node_disk_written_bytes_total", labels, float(counted.write_bytes)
        yield "node_disk_read_time_seconds_total", labels, counted.read_time / 1000
        yield "node_disk_write_time_seconds_total", labels, counted.write_time / 1000
        yield "node_disk_io_time_seconds_total", labels, counted.busy_time / 1000


def network() -> Iterator[Figure]:
    """Yield what each interface has received and sent, and whether it is up."""
    for device, counted in psutil.net_io_counters(pernic=True, nowrap=False).items():
        labels = (("device", device),)
        yield "node_network_receive_bytes_total", labels, float(counted.bytes_recv)
        yield "node_network_receive_packets_total", labels, float(counted.packets_recv)
        yield "node_network_receive_errs_total", labels, float(counted.errin)
        yield "node_network_receive_drop_total", labels, float(counted.dropin)
        yield "node_network_transmit_bytes_total", labels, float(counted.bytes_sent)
        yield "node_network_transmit_packets_total", labels, float(counted.packets_sent)
        yield "node_network_transmit_errs_total", labels, float(counted.errout)
        yield "node_network_transmit_drop_total", labels, float(counted.dropout)
    for device, state in psutil.net_if_stats().items():
        yield "node_network_up", (("device", device),), float(state.isup)


def clock() -> Iterator[Figure]:
    """Yield when the machine was started, and what its clock says."""
    yield "node_boot_time_seconds", (), psutil.boot_time()
    yield "node_time_seconds", (), time.time()


def files() -> Iterator[Figure]:
    """Yield how many files are open, and how many may be."""
    allocated, _, maximum = Path("/proc/sys/fs/file-nr").read_text().split()
    yield "node_filefd_allocated", (), float(allocated)
    yield "node_filefd_maximum", (), float(maximum)


def pressure() -> Iterator[Figure]:
    """Yield for how long something had to wait for processor, disk or memory, where the kernel says so."""
    lines: dict[str, dict[str, float]] = {}
    for resource in ("cpu", "io", "memory"):
        try:
            text = Path(f"/proc/pressure/{resource}").read_text()
        except OSError:
            return  # a kernel without it, or with it switched off
        lines[resource] = {
            line.split()[0]: float(line.rpartition("total=")[2]) / 1e6 for line in text.splitlines() if "total=" in line
        }
    for resource, kind, name in PRESSURE:
        if kind in lines[resource]:
            yield name, (), lines[resource][kind]
