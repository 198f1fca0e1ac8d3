"""What is freed is kept, where the C library can be told so: pages are not cleared again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from engine.app.allocation import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else None
def churn():
    for _ in range(2):
        arrays = [np.ones(500_000) for _ in range(12)]
        del arrays
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told; run it on a system that has it")
def test_arrays_that_come_and_go_cost_no_new_pages() -> None:
    kept, few = faults("keep")
    _, many = faults("leave")
    assert kept == "True"
    assert few * 10 < many
