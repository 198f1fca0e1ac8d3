"""Secrets that are planted in a project by every way in, and a search that finds them again however they are written."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COVER = 'q"é\\&%'
"""What many a secret ends with: text that JSON, YAML, shells and addresses each write in their own way."""
LARGEST = 64 << 20
_SEED = "planted"
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its way in. Its core, which is letters and digits, turns up however the whole is quoted."""

    way: str
    core: str
    cover: str = ""

    @property
    def whole(self) -> str:
        """What is planted."""
        return self.core + self.cover

    def forms(self) -> set[bytes]:
        """Return how it may turn up: as it is, as base64 whatever stands before it, in hexadecimal, backwards, in two bytes each."""
        return written(self.core)


def written(text: str) -> set[bytes]:
    """Return how a text of letters and digits is written: as it is, in hexadecimal, backwards, in two bytes each, and as base64."""
    raw = text.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), raw[::-1], text.encode("utf-16-le")}
    for before in range(3):
        letters = base64.b64encode(b"x" * before + raw)
        inner = letters[4 if before else 0 : (before + len(raw)) // 3 * 4]  # what neighbours share in is cut off
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


_PROBES = written(_SEED)


@dataclass
class Garden:
    """The secrets, and the files in which they were planted."""

    root: Path
    secrets: dict[str, Secret] = field(default_factory=dict)
    beds: set[Path] = field(default_factory=set)
    begun: float = field(default_factory=time.time)

    def secret(self, way: str, cover: str = "") -> str:
        """Return a new secret."""
        core = f"{_SEED}{way.replace('_', '')}{os.urandom(6).hex()}z"
        self.secrets[way] = Secret(way, core, cover)
        return self.secrets[way].whole

    def __getitem__(self, way: str) -> str:
        return self.secrets[way].whole

    def plant(self, name: str, text: str) -> Path:
        """Write a file that may hold secrets."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.beds.add(path)
        return path

    def found_in(self, text: bytes) -> set[str]:
        """Return the ways whose secrets a text holds."""
        if not any(probe in text for probe in _PROBES):  # most of what is read has nothing like one
            return set()
        return {way for way, secret in self.secrets.items() if any(form in text for form in secret.forms())}

    def harvest(self, own: Iterable[Path], told: Mapping[str, bytes], shared: Iterable[Path] = ()) -> list[str]:
        """Return which secret is where: in what was told, in files below these places, and in their names.

        In places of our own compressed text is read as well; in those that are shared, what was written since the beginning.
        """
        texts = [*told.items()]
        for path in {*files(own, 0.0), *files(shared, self.begun)} - self.beds:
            texts.append((f"the name {path}", os.fsencode(path.name)))
            try:
                raw = path.read_bytes()
            except OSError:
                continue  # of somebody else, and gone
            texts.append((str(path), raw))
            if any(path.is_relative_to(place) for place in own):
                texts += [(str(path), text) for text in inflated(raw)]
        return sorted({f"{way} in {where}" for where, text in texts for way in self.found_in(text)})


def files(places: Iterable[Path], since: float) -> Iterator[Path]:
    """Yield the files below places that were made or written since, on the same disk; what vanishes meanwhile is left out."""
    for place in places:
        disk = place.stat().st_dev if place.exists() else -1
        for folder, below, names in os.walk(place):
            below[:] = [name for name in below if device(Path(folder, name)) == disk]
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode) and status.st_ctime >= since and status.st_size <= LARGEST:
                    yield path


def device(path: Path) -> int:
    """Return which disk something is on; -1 for what is gone."""
    try:
        return path.lstat().st_dev
    except OSError:
        return -1


def inflated(raw: bytes) -> Iterator[bytes]:
    """Yield whatever in a text is compressed."""
    view = memoryview(raw)
    for match in _ZLIB.finditer(raw):
        try:
            yield zlib.decompressobj(wbits=47).decompress(view[match.start() :], LARGEST)
        except zlib.error:
            continue


def vault(password: Path, *words: str, text: str) -> str:
    """Return what ansible-vault makes of a text."""
    command = [Path(sys.executable).parent / "ansible-vault", words[0], f"--vault-password-file={password}", *words[1:]]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
