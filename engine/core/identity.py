"""Names for things that begin: the same cause gets the same name, so that a repeated tick cannot begin it twice."""

from __future__ import annotations

import hashlib


def identify(prefix: str, *parts: object) -> str:
    """Return `prefix-` and ten hexadecimal digits that depend on `parts` alone."""
    text = "\xff".join(repr(part) for part in parts)
    return f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
