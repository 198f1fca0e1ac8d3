"""A Linux kernel of its own as an ordinary process, over this machine's files: for what the machine's own kernel may not do, or should not.

User Mode Linux brings device-mapper and file systems that may be resized, and nobody's volume groups are in sight.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from loops import needs_programs

_SECONDS = 240
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1 LVM_SYSTEM_DIR=/run/lvm DM_DISABLE_UDEV=1
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
"{python}" -P "{script}" "{result}" >"{output}" 2>&1
sync; echo o >/proc/sysrq-trigger; sleep 60
"""


def needs_kernel(*programs: str) -> None:
    """Skip, and say what is missing, where no kernel can be had, or where it would lack one of these programs."""
    needs_programs("linux.uml", "insmod", *programs)


def run_in_guest(script: Path, folder: Path, disks: dict[str, int]) -> dict[str, Any]:
    """Run a script as root of a fresh kernel with empty disks (`a` is /dev/ubda) of these bytes; return the JSON that it leaves.

    What the script prints is in the failure when it leaves none.
    """
    needs_kernel()
    for name, size in disks.items():
        with (folder / name).open("wb") as stream:
            stream.truncate(size)
    result, output, init = folder / "result.json", folder / "output", folder / "init"
    init.write_text(_INIT.format(python=sys.executable, script=script, result=result, output=output))
    init.chmod(0o755)
    command = [
        "linux.uml",
        "mem=384M",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={init}",
        f"uml_dir={folder}/",
        "con=null",
        "con0=null,fd:1",
        *(f"ubd{name}={folder / name}" for name in disks),
    ]
    guest = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        console, _ = guest.communicate(timeout=_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(guest.pid, signal.SIGKILL)  # what the guest runs are processes of this group; none outlives it
    said = output.read_text(errors="replace") if output.exists() else console.decode(errors="replace")[-4000:]
    assert result.exists(), said
    loaded = json.loads(result.read_text())
    assert isinstance(loaded, dict)
    return loaded
