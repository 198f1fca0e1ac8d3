"""Secrets that are planted in a project by every way in, and a search that finds them again however they are written."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

COVER = 'q"é\\&%'
"""What many a secret ends with: text that JSON, YAML, shells and addresses each write in their own way."""
LARGEST = 64 << 20
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
        core = self.core.encode()
        found = {core, core.hex().encode(), core.hex().upper().encode(), core[::-1], self.core.encode("utf-16-le")}
        for text in (self.whole, quote(self.whole), quote_plus(self.whole), json.dumps(self.whole)[1:-1]):
            found.add(text.encode())
        for before in range(3):
            encoded = base64.b64encode(b"x" * before + core)
            inner = encoded[4 if before else 0 : -4]  # what neighbours share in is cut off
            found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
        return found


@dataclass
class Garden:
    """The secrets, and the files in which they were planted."""

    root: Path
    secrets: dict[str, Secret] = field(default_factory=dict)
    beds: set[Path] = field(default_factory=set)
    begun: float = field(default_factory=time.time)

    def secret(self, way: str, cover: str = "") -> str:
        """Return a new secret."""
        core = f"planted{way.replace('_', '')}{os.urandom(6).hex()}z"
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
        return {way for way, secret in self.secrets.items() if any(form in text for form in secret.forms())}

    def harvest(self, places: Iterable[Path], told: Mapping[str, bytes]) -> list[str]:
        """Return which secret is where: in files below these places, compressed or not, in their names, and in what was told."""
        texts = [*told.items()]
        for place in places:
            for path in files(place, self.begun):
                if path in self.beds:
                    continue
                texts.append((f"the name {path}", os.fsencode(path.name)))
                texts += [(str(path), text) for text in content(path)]
        return sorted({f"{way} in {where}" for where, text in texts for way in self.found_in(text)})


def files(place: Path, since: float) -> Iterator[Path]:
    """Yield the files below a place that were made or written since; what vanishes meanwhile is left out."""
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            if path.is_file() and not path.is_symlink() and status.st_ctime >= since - 1 and status.st_size <= LARGEST:
                yield path


def content(path: Path) -> Iterator[bytes]:
    """Yield what a file holds, and whatever in it is compressed."""
    try:
        raw = path.read_bytes()
    except OSError:
        return
    yield raw
    for match in _ZLIB.finditer(raw):
        inflated = zlib.decompressobj(wbits=47)
        try:
            yield inflated.decompress(raw[match.start() :], LARGEST)
        except zlib.error:
            continue


def vault(password: Path, *words: str, text: str) -> str:
    """Return what ansible-vault makes of a text."""
    command = [Path(sys.executable).parent / "ansible-vault", words[0], f"--vault-password-file={password}", *words[1:]]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
