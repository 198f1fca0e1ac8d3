"""The nodes' image: Debian's packages and no registry; built once, kept in a cache, named after its recipe."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.plan import HERE, LabError

SUITE = "bookworm"
_BUILD_SECONDS = 900.0
_RECIPE = ("packages", "image/customize.sh", "image/lab-bootid.service")


def packages() -> tuple[str, ...]:
    """Return the names of the Debian packages that a node is made of."""
    lines = (line.partition("#")[0].split() for line in (HERE / "packages").read_text().splitlines())
    return tuple(name for line in lines for name in line)


def digest() -> str:
    """Return what the recipe is known by: another recipe is another image."""
    found = hashlib.sha256(SUITE.encode())
    for name in _RECIPE:
        found.update((HERE / name).read_bytes())
    return found.hexdigest()[:12]


def name() -> str:
    """Return the image's name in podman's store."""
    return f"localhost/mendbook-lab:{digest()}"


def cached() -> Path:
    """Return the file in which the image is kept between labs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mendbook-lab" / f"{SUITE}-{digest()}.tar"


def have(commands: Commands, say: Callable[[str], None]) -> str:
    """Return the image's name, once podman has it: as it is, from the cache, or built. Raises LabError."""
    if commands.run("podman", "images", "--quiet", "--filter", f"reference={name()}").strip():
        return name()
    file = cached()
    if not file.exists():
        build(commands, file, say)
    say("taking the image into podman's store")
    commands.run("podman", "import", "--quiet", file, name(), timeout=300)
    return name()


def build(commands: Commands, file: Path, say: Callable[[str], None]) -> None:
    """Build the image's file from Debian's packages; it appears under its name when it is whole. Raises LabError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(commands, file)
    say(
        f"building the image of {len(packages())} Debian packages: some minutes, this once; it is kept in {file.parent}"
    )

    def heard(line: str) -> None:
        if line.startswith("I: ") and line.rstrip().endswith("..."):
            say(f"  {line[3:].rstrip('.')}")

    try:
        commands.follow(
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--format=tar",
            f'--setup-hook=echo "$1" >{shlex.quote(str(commands.lab.place.building))}',
            f"--include={','.join(packages())}",
            f'--customize-hook=sh {shlex.quote(str(HERE / "image" / "customize.sh"))} "$1"',
            SUITE,
            str(part),
            heard=heard,
            timeout=_BUILD_SECONDS,
        )
        part.rename(file)
    finally:
        clear(commands)
    if not file.stat().st_size:
        file.unlink()
        raise LabError("mmdebstrap made an empty image")


def part_of(commands: Commands, file: Path) -> Path:
    """Return what the image's file is called until it is whole."""
    return file.with_name(f"{file.name}.{commands.lab.mark}.part")


def clear(commands: Commands) -> None:
    """Delete what a build that was interrupted left: a part of the file, and the folder in which the system was put together."""
    part_of(commands, cached()).unlink(missing_ok=True)
    note = commands.lab.place.building
    if note.exists():
        folder = Path(note.read_text().strip())
        if folder.name.startswith("mmdebstrap."):
            shutil.rmtree(folder, ignore_errors=True)
        note.unlink()
