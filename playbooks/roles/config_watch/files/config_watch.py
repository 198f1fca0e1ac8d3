#!/usr/bin/python3
"""Says for node_exporter's textfile collector which configuration differs from the last one that worked."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path


def digest(path: str) -> str:
    """Return the file's SHA-256; empty when it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def quoted(text: str) -> str:
    """Return a label's value."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def page(watched: list[dict[str, str]]) -> str:
    """Return the figures in Prometheus's text format; none for a configuration that never worked."""
    lines = ["# TYPE mendbook_config_differs gauge"]
    for each in watched:
        good = digest(each["good"])
        if good:
            labels = f'name="{quoted(each["unit"])}",path="{quoted(each["path"])}"'
            lines.append(f"mendbook_config_differs{{{labels}}} {digest(each['path']) != good:d}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare every pair at every interval, and write what was seen whole or not at all."""
    known = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    place = Path(known["textfile"])
    draft = place.with_suffix(".new")
    while True:
        draft.write_text(page(known["watched"]), encoding="utf-8")
        draft.chmod(0o644)
        os.replace(draft, place)
        time.sleep(known["interval"])


if __name__ == "__main__":
    main()
