"""`mendbook localize` as people run it: on the samples that a real cluster left behind, and on files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

MENDBOOK = str(Path(sys.executable).with_name("mendbook"))
LONGEST = 180.0


def run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MENDBOOK, *arguments], cwd=where, capture_output=True, text=True, timeout=LONGEST, check=False
    )


def read(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A cluster that was broken three times and healed: where its samples are, and by its resource what each injection hit.

    The first one is there so that the others have something before them.
    """
    root = tmp_path_factory.mktemp("healed")
    broken = [part for name in ("killed", "leak", "fill") for part in ("--inject", name)]
    rows = read(run(root, "demo", *broken, "--seed", "3", "-o", "json"))
    return root / ".mendbook-demo", {row["resource"]: row for row in rows}


@pytest.mark.parametrize("resource", ["memory", "disk"])
def test_a_fault_of_real_processes_is_named_from_the_samples_alone(
    healed: tuple[Path, dict[str, Any]], resource: str
) -> None:
    demo, rows = healed
    node = rows[resource]["node"]
    incident = next(each for each in read(run(demo, "incidents", "-o", "json")) if each["resource"] == resource)
    told = read(run(demo, "localize", "--at", str(incident["opened_at"]), "-o", "json"))
    first = told["suspects"][0]
    assert (first["node"], first["resource"]) == (node, resource)
    assert told["onset"] <= incident["opened_at"]
    shown = run(demo, "localize", "--at", str(incident["opened_at"]))
    assert shown.stdout.startswith(f"{resource} of {node}")


def test_a_file_is_localized_without_any_project(tmp_path: Path) -> None:
    rows = [f"{60 * row},{0.2 + 0.01 * (row % 3)},{0.95 if row >= 45 else 0.3 + 0.01 * (row % 2)}" for row in range(50)]
    (tmp_path / "day.csv").write_text("\n".join(["t_s,web|cpu,store|cpu", *rows]) + "\n")
    done = run(tmp_path, "localize", "--input", "day.csv", "--detailed-exitcode", "-o", "json")
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert [(each["node"], each["resource"]) for each in told["suspects"]] == [("store", "cpu")]
    assert abs(told["onset"] - 60 * 45) <= 60
    assert list(tmp_path.iterdir()) == [tmp_path / "day.csv"]
