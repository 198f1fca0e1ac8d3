"""Breaks files on a node and puts them back: `files.py inject|undo KIND ID ARGUMENT…`.

What the undo needs is kept below /var/lib/chaos/ID before anything is broken. The undo touches only what is still as it was left:
what a remedy has put right since stays as the remedy made it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

KEPT = "/var/lib/chaos"
UNITS = {
    "": 1, "c": 1, "w": 2, "b": 512, "K": 2**10, "KiB": 2**10, "kB": 10**3, "KB": 10**3, "M": 2**20, "MiB": 2**20, "MB": 10**6, "G": 2**30, "GiB": 2**30, "GB": 10**9,
}  # fmt: skip
RUN = 16
"""So many bytes in a row are flipped: a run that equals what was left by chance is not to be feared."""


def main() -> None:
    """Do what the arguments say."""
    way, kind, name, *arguments = sys.argv[1:]
    keep = os.path.join(KEPT, name)
    if way == "inject":
        os.makedirs(keep, mode=0o700)
        INJECT[kind](keep, *arguments)
    elif os.path.isdir(keep):
        UNDO[kind](keep, *arguments)
        shutil.rmtree(keep)


def note(keep: str, value: object) -> None:
    """Have a note on disk that the undo reads."""
    path = os.path.join(keep, "note.json")
    with open(path, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())


def noted(keep: str) -> Any:
    """Return the note; None when it never came to that."""
    try:
        with open(os.path.join(keep, "note.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def digest(path: str) -> str | None:
    """Return what changes with any byte of a file; None without one."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return None


def restart(unit: str) -> None:
    """Restart a unit; that it fails may be the point."""
    if unit:
        subprocess.run(["systemctl", "restart", "--no-block", unit], check=False)


def rewrite(keep: str, path: str, content: bytes, unit: str) -> None:
    """Give a file another content, keeping owner and mode, and the old one aside."""
    subprocess.run(["cp", "-a", path, os.path.join(keep, "copy")], check=True)
    note(keep, {"left": hashlib.sha256(content).hexdigest()})
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()
    restart(unit)


def append(keep: str, path: str, data: str, count: str, unit: str = "") -> None:
    """Append a line to a file, so many times."""
    with open(path, "rb") as file:
        content = file.read()
    rewrite(keep, path, content + (data + "\n").encode() * int(count), unit)


def replace(keep: str, path: str, old: str, new: str, unit: str = "") -> None:
    """Replace a text in a file."""
    with open(path, "rb") as file:
        content = file.read()
    if old.encode() not in content:
        sys.exit(f"{path} does not contain {old!r}")
    rewrite(keep, path, content.replace(old.encode(), new.encode()), unit)


def put_back(keep: str, path: str, *rest: str) -> None:
    """Put the old content back if the file is still as it was left."""
    before = noted(keep)
    if before is not None and digest(path) == before["left"]:
        subprocess.run(["cp", "-a", os.path.join(keep, "copy"), path], check=True)
        restart(rest[-1] if rest else "")


def delete(keep: str, path: str) -> None:
    """Delete a file or a folder; its inodes live on beside it, so that what is written until then is not lost to the undo."""
    aside = beside(path, keep)
    subprocess.run(["cp", "-al", path, aside], check=True)
    note(keep, {"aside": aside})
    subprocess.run(["rm", "-rf", path], check=True)


def undelete(keep: str, path: str, unit: str = "") -> None:
    """Move back what was deleted, if nothing has taken its place."""
    before = noted(keep)
    if before is None:
        return
    aside = before["aside"]
    empty = os.path.isdir(path) and not os.listdir(path)
    if os.path.exists(aside) and (not os.path.lexists(path) or empty):
        if empty:
            os.rmdir(path)
        os.rename(aside, path)
        restart(unit)
    subprocess.run(["rm", "-rf", aside], check=True)


def beside(path: str, keep: str) -> str:
    """Return a hidden place on the same file system."""
    path = path.rstrip("/")
    return os.path.join(os.path.dirname(path), f".chaos-{os.path.basename(keep)}")


def flip(keep: str, pattern: str, count: str = "8", head: str = "0") -> None:
    """Flip runs of bytes in the newest file of a pattern, spread over it, each in the middle of a block of 8 KiB."""
    found = sorted(glob.glob(pattern, recursive=True), key=os.path.getmtime)
    found = [path for path in found if os.path.isfile(path) and os.path.getsize(path) > RUN]
    if not found:
        sys.exit(f"there is no file {pattern}")
    path = found[-1]
    size = os.path.getsize(path)
    blocks = max(1, size // 8192)
    chosen = sorted({int(head) + (blocks - int(head)) * number // int(count) for number in range(int(count))})
    with open(path, "r+b", buffering=0) as file:
        runs: list[tuple[int, str]] = []
        for block in chosen:
            place = min(block * 8192 + 6000, size - RUN)
            file.seek(place)
            runs.append((place, bytes(byte ^ 0xFF for byte in file.read(RUN)).hex()))
        note(keep, {"path": path, "runs": runs})
        for place, flipped in runs:
            file.seek(place)
            file.write(bytes.fromhex(flipped))
        os.fsync(file.fileno())
    print(path)


def unflip(keep: str, *_: str) -> None:
    """Flip back every run that is still as it was left."""
    before = noted(keep)
    if before is None or not os.path.isfile(before["path"]):
        return
    with open(before["path"], "r+b", buffering=0) as file:
        for place, flipped in before["runs"]:
            left = bytes.fromhex(flipped)
            file.seek(place)
            if file.read(RUN) == left:
                file.seek(place)
                file.write(bytes(byte ^ 0xFF for byte in left))
        os.fsync(file.fileno())


def inodes(keep: str, folder: str, count: str) -> None:
    """Fill a folder with empty files until so many are there or no inode is left."""
    note(keep, {"new": not os.path.isdir(folder)})
    os.makedirs(folder, exist_ok=True)
    try:
        for number in range(int(count)):
            os.close(os.open(f"{folder}/session-{number:06}.tmp", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        print(error)


def fewer_inodes(keep: str, folder: str, *_: str) -> None:
    """Remove those files."""
    before = noted(keep)
    if before is None:
        return
    for path in glob.iglob(f"{glob.escape(folder)}/session-*.tmp"):
        os.unlink(path)
    if before["new"] and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def fill(keep: str, path: str, size: str) -> None:
    """Have a file of that size, or as much of it as there is room for; a percentage is of the whole file system."""
    if os.path.lexists(path):
        sys.exit(f"{path} is there already")
    folder = os.path.dirname(path)
    note(keep, {"new": not os.path.isdir(folder)})
    os.makedirs(folder, exist_ok=True)
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    wanted = room.f_blocks * room.f_frsize * int(size[:-1]) // 100 if size.endswith("%") else size_of(size)
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, min(wanted, free)))


def size_of(text: str) -> int:
    """Return the bytes of a size in Chaos Mesh's units."""
    unit = text.lstrip("0123456789")
    return int(text[: len(text) - len(unit)]) * UNITS[unit]


def unfill(keep: str, path: str, *_: str) -> None:
    """Remove what filled it."""
    before = noted(keep)
    if before is None:
        return
    if os.path.lexists(path):
        os.unlink(path)
    folder = os.path.dirname(path)
    if before["new"] and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)


def mode(keep: str, path: str, privilege: str) -> None:
    """Change a file's mode; Chaos Mesh writes its octal digits as a number."""
    note(keep, {"mode": os.stat(path).st_mode & 0o7777})
    os.chmod(path, int(privilege, 8))


def mode_back(keep: str, path: str, *_: str) -> None:
    """Give the file its mode back."""
    before = noted(keep)
    if before is not None and os.path.exists(path):
        os.chmod(path, before["mode"])


def create(keep: str, path: str, kind: str) -> None:
    """Create an empty file or a folder that is not there."""
    if os.path.lexists(path):
        sys.exit(f"{path} is there already")
    note(keep, {})
    if kind == "folder":
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))


def remove(keep: str, path: str, *_: str) -> None:
    """Remove it again."""
    if noted(keep) is not None and os.path.lexists(path):
        subprocess.run(["rm", "-rf", path], check=True)


def rename(keep: str, source: str, target: str) -> None:
    """Rename a file."""
    if os.path.lexists(target):
        sys.exit(f"{target} is there already")
    note(keep, {})
    os.rename(source, target)


def rename_back(keep: str, source: str, target: str) -> None:
    """Give it its name back, if nothing has taken its place."""
    if noted(keep) is not None and os.path.lexists(target) and not os.path.lexists(source):
        os.rename(target, source)


def certificate(keep: str, path: str, seconds: str, unit: str = "") -> None:
    """Put a certificate for the same names and key in place that ends soon."""
    new = os.path.join(keep, "new.pem")
    subject = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-subject", "-nameopt", "RFC2253"],
        check=True,
        capture_output=True,
        text=True,
    )
    name = "/" + "/".join(reversed(subject.stdout.strip().removeprefix("subject=").strip().split(",")))
    days = max(1, -(-int(seconds) // 86400))
    key = os.path.join(keep, "key.pem")
    with open(key, "w") as file:
        subprocess.run(["openssl", "pkey", "-in", key_of(path)], check=True, stdout=file)
    subprocess.run(
        ["openssl", "req", "-x509", "-new", "-key", key, "-subj", name, "-days", str(days), "-out", new], check=True
    )
    with open(new, "rb") as file:
        content = file.read()
    if key_of(path) == path:
        with open(key, "rb") as file:
            content += file.read()
    rewrite(keep, path, content, "")
    if unit:
        subprocess.run(["systemctl", "reload", unit], check=True)


def key_of(path: str) -> str:
    """Return the file of a certificate's key: the same one, or the one beside it."""
    with open(path) as file:
        return path if "PRIVATE KEY" in file.read() else path.rsplit(".", 1)[0] + ".key"


def certificate_back(keep: str, path: str, seconds: str, unit: str = "") -> None:
    """Put the old certificate back if the one that ends soon is still there."""
    del seconds
    put_back(keep, path, "")
    if unit:
        subprocess.run(["systemctl", "reload", unit], check=False)


def old_data(keep: str, data: str, folder: str) -> None:
    """Note what lies in the folder to which remedies move old data."""
    note(keep, {"there": os.listdir(folder) if os.path.isdir(folder) else [], "data": data})


def less_old_data(keep: str, data: str, folder: str) -> None:
    """Remove what remedies of this drill moved there, if other data has taken its place; many drills would fill the disk."""
    before = noted(keep)
    if before is None or not os.path.isdir(folder) or not os.path.isdir(data) or not os.listdir(data):
        return
    for name in set(os.listdir(folder)) - set(before["there"]):
        shutil.rmtree(os.path.join(folder, name))


INJECT: Mapping[str, Callable[..., None]] = {
    "append": append, "fill": fill, "replace": replace, "delete": delete, "flip": flip, "inodes": inodes, "mode": mode, "create": create,
    "rename": rename, "certificate": certificate, "old-data": old_data,
}  # fmt: skip
UNDO: Mapping[str, Callable[..., None]] = {
    "append": put_back, "fill": unfill, "replace": put_back, "delete": undelete, "flip": unflip, "inodes": fewer_inodes, "mode": mode_back,
    "create": remove, "rename": rename_back, "certificate": certificate_back, "old-data": less_old_data,
}  # fmt: skip

if __name__ == "__main__":
    main()
