#!/usr/bin/python3
"""Says which of the other nodes this one sees, for node_exporter's textfile collector.

Somebody else's view is what tells a dead node from one that only the asker cannot reach: `mendbook_peer_up` is 1 where a program of
the node's answers, its exporter or else SSH, `mendbook_peer_linked` is 1 where the network card answers still, which one without power
does not. The exporter is asked first: SSH starts a process for each who asks.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TypedDict

QUESTION = b"HEAD / HTTP/1.0\r\n\r\n"
GREETING = b"SSH-"
ARP = Path("/proc/net/arp")
COMPLETE = 0x2  # the flag of an address that was answered for


class Settings(TypedDict):
    """What stands in the settings."""

    peers: dict[str, str]
    exporter: int
    port: int
    interval: float
    patience: float
    textfile: str


def answers(address: str, port: int, patience: float, question: bytes, answer: bytes) -> bool:
    """Return whether a program answers there, and not only the kernel."""
    try:
        with socket.create_connection((address, port), patience) as stream:
            stream.settimeout(patience)
            stream.sendall(question)
            return stream.recv(len(answer)) == answer
    except OSError:
        return False


def up(address: str, known: Settings) -> bool:
    """Return whether the node's exporter answers, or SSH greets; both together take little longer than the patience."""
    end = time.monotonic() + known["patience"]
    if known["exporter"] and answers(address, known["exporter"], known["patience"], QUESTION, b"HTTP/"):
        return True
    return answers(address, known["port"], max(0.5, end - time.monotonic()), b"", GREETING)


def linked(address: str) -> bool:
    """Return whether the kernel knows a link address that answers; an address that it does not keep track of is none."""
    for line in ARP.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[0] == address:
            return bool(int(fields[2], 16) & COMPLETE)
    return False


def look(known: Settings) -> dict[str, tuple[bool, bool]]:
    """Return for each peer whether it answers and whether its link does; all are asked at once."""
    found: dict[str, tuple[bool, bool]] = {}

    def ask(name: str, address: str) -> None:
        well = up(address, known)
        found[name] = well, well or linked(address)

    asked = [threading.Thread(target=ask, args=each, daemon=True) for each in known["peers"].items()]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    return found


def page(found: dict[str, tuple[bool, bool]]) -> str:
    """Return the figures in Prometheus's text format."""
    lines = ["# TYPE mendbook_peer_up gauge"]
    lines += [f'mendbook_peer_up{{peer="{name}"}} {well:d}' for name, (well, _) in sorted(found.items())]
    lines += ["# TYPE mendbook_peer_linked gauge"]
    lines += [f'mendbook_peer_linked{{peer="{name}"}} {link:d}' for name, (_, link) in sorted(found.items())]
    lines += [
        "# TYPE mendbook_witness_timestamp_seconds gauge",
        f"mendbook_witness_timestamp_seconds {time.time():.3f}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Look at every interval, and write what was seen whole or not at all."""
    known: Settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    place = Path(known["textfile"])
    draft = place.with_suffix(".new")
    while True:
        began = time.monotonic()
        draft.write_text(page(look(known)), encoding="utf-8")
        draft.chmod(0o644)
        os.replace(draft, place)
        time.sleep(max(0.1, known["interval"] - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
