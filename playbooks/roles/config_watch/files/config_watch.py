#!/usr/bin/python3
"""Says for node_exporter's textfile collector which configuration differs from the last one that worked."""

from __future__ import annotations

import hashlib
import json
import os
import sys
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


def main() -> None:
    """Compare every pair once."""
    known = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lines = ["# TYPE mendbook_config_differs gauge"]
    for each in known["watched"]:
        good = digest(each["good"])
        if good:
            differs = digest(each["path"]) != good
            lines.append(
                f'mendbook_config_differs{{name="{quoted(each["unit"])}",path="{quoted(each["path"])}"}} {differs:d}'
            )
    place = Path(known["textfile"])
    draft = place.with_suffix(".new")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.chmod(0o644)
    os.replace(draft, place)


if __name__ == "__main__":
    main()
