"""What the C library does with memory that is freed; this is the only place that asks it for anything."""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
MOST_MAPPED: Final = 32 << 20
"""The largest that glibc takes: blocks beyond are mapped and unmapped one by one."""
NEVER: Final = (1 << 31) - 1


def keep_freed() -> bool:
    """Have this process keep what it frees for its next arrays; return whether the C library does (glibc).

    A walk through samples takes and frees arrays of some megabytes by the thousand. To give each back and have it cleared
    again is a fifth of the time; a process that ends with the walk has no use for what it would give back. Both have to be
    set: either alone has glibc hold the other where it is small.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(set_option(M_MMAP_THRESHOLD, MOST_MAPPED)) and bool(set_option(M_TRIM_THRESHOLD, NEVER))
