"""What the guest's kernel is asked of growing file systems: scenes on its own disks, and what the module said in each.

It runs in the guest alone, whose disks are empty when it begins; the tests look at what it leaves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from playbook_run import run_module

MODULES = Path("/usr/lib/uml/modules") / os.uname().release / "kernel/drivers/md"
PLACE = Path("/run/mounted")
Scene = dict[str, Any]


def sh(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def grow(*, check: bool = False, **arguments: object) -> dict[str, Any]:
    """What the module says, and how large the file system is afterwards."""
    wanted: dict[str, Any] = {"mountpoint": str(PLACE), "free": 1, **arguments}
    said = run_module("filesystem_grown", check=check, **wanted)
    room = os.statvfs(PLACE)
    return {**said, "bytes": room.f_blocks * room.f_frsize, "data": (PLACE / "data").read_text()}


def mount(device: str, kind: str, *size: str) -> None:
    sh(f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", device, *size)
    PLACE.mkdir(exist_ok=True)
    sh("mount", device, str(PLACE))
    (PLACE / "data").write_text("precious" * 1000)


def extents() -> int:
    return int(sh("lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size", "rooms/one")) >> 22


def whole_device() -> Scene:
    mount("/dev/ubda", "ext4", "160M")
    return {"check": grow(check=True), "done": grow(), "again": grow()}


def partition() -> Scene:
    sh("sfdisk", "--quiet", "/dev/ubdb", text="label: gpt\nstart=2048, size=204800\nstart=614400, size=20480\n")
    mount("/dev/ubdb1", "ext4")
    before = sh("sfdisk", "--dump", "/dev/ubdb").splitlines()[-1]
    told = {"check": grow(check=True), "done": grow(), "again": grow()}
    return {**told, "before": before, "after": sh("sfdisk", "--dump", "/dev/ubdb").splitlines()[-1]}


def volume(kind: str) -> Scene:
    """A volume of 320 MiB in a group of 1 GiB."""
    if not Path("/dev/rooms/one").exists():
        sh("vgcreate", "--quiet", "rooms", "/dev/ubdc")
    sh("lvcreate", "--quiet", "--yes", "--extents", "80", "--name", "one", "rooms")
    mount("/dev/rooms/one", kind)
    told: Scene = {"unlimited": grow()}
    told["check"] = grow(check=True, step="50M", limit="400M")
    told["first"] = grow(step="50M", limit="400M")
    told["extents"] = extents()
    told["bounded"] = grow(step="50M", limit="400M")
    told["at the limit"] = grow(step="50M", limit="400M")
    sh("lvextend", "--quiet", "--extents", "+10", "rooms/one")  # as a run that was broken off leaves it
    told["finished"] = grow(step="50M", limit="800M")
    told["extents then"] = extents()
    told["all"] = grow(step="5G", limit="5G")
    told["nothing left"] = grow(step="5G", limit="5G")
    sh("umount", str(PLACE))
    sh("lvremove", "--quiet", "--yes", "rooms/one")
    sh("vgremove", "--quiet", "rooms")
    return told


def snapshot() -> Scene:
    """A volume that a snapshot holds on to."""
    sh("vgcreate", "--quiet", "rooms", "/dev/ubdc")
    sh("lvcreate", "--quiet", "--yes", "--extents", "80", "--name", "one", "rooms")
    mount("/dev/rooms/one", "ext4")
    sh("lvcreate", "--quiet", "--snapshot", "--extents", "20", "--name", "two", "rooms/one")
    told = {"done": grow(limit="5G"), "extents": extents()}
    sh("umount", str(PLACE))
    sh("lvremove", "--quiet", "--yes", "rooms/two", "rooms/one")
    sh("vgremove", "--quiet", "rooms")
    return told


def mapped() -> Scene:
    """A device that somebody mapped by hand onto part of a disk."""
    sh("dmsetup", "create", "by-hand", "--table", "0 204800 linear /dev/ubdd 0")
    mount("/dev/mapper/by-hand", "ext4")
    return {"done": grow()}


SCENES: dict[str, Callable[[], Scene]] = {
    "whole": whole_device,
    "partition": partition,
    "volume ext4": lambda: volume("ext4"),
    "volume xfs": lambda: volume("xfs"),
    "snapshot": snapshot,
    "mapped": mapped,
}


def main() -> None:
    for name in ("dm-mod", "dm-bufio", "dm-snapshot"):
        if (MODULES / f"{name}.ko").exists():
            sh("insmod", str(MODULES / f"{name}.ko"))
    settings = Path(os.environ["LVM_SYSTEM_DIR"])
    settings.mkdir()
    settings.joinpath("lvm.conf").write_text(
        'devices { types = [ "ubd", 16 ] }\nactivation { udev_sync = 0 udev_rules = 0 }\n'
    )
    told = {}
    for name, scene in SCENES.items():
        told[name] = scene()
        subprocess.run(["umount", str(PLACE)], check=False)
    result = Path(sys.argv[1])
    result.with_suffix(".new").write_text(json.dumps(told))
    result.with_suffix(".new").rename(result)


if __name__ == "__main__":
    main()
