"""The benchmark on folders of cases: any layout that is like the public one, and the public one where it is there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent.parent
SCRIPT = REPOSITORY / "tests" / "benchmarks" / "rca.py"
SHARED = REPOSITORY.parent / "shared" / "rca"
GOALS = {"petshop": (0.90, 0.97), "nezha-ob": (0.85, 0.95)}
NODES = ("entry", "cart", "stock")
STEP, ROWS = 30, 100


def recording(broken: str, *, seed: int, rows: int = ROWS, start: float = 0.0, label: str | None = None) -> str:
    """A recording in which a node of a chain becomes slow in its last six rows."""
    rng = np.random.default_rng(seed)
    head = ["case"] * (label is not None) + ["t_s"]
    lines = [",".join(head + [f"{node}|{name}" for node in NODES for name in ("latency_avg", "requests", "cpu")])]
    for row in range(rows):
        own = {node: rng.normal(0.05, 0.002) + (0.4 if node == broken and row >= rows - 6 else 0.0) for node in NODES}
        total = {"stock": own["stock"], "cart": own["cart"] + own["stock"], "entry": sum(own.values())}
        cells = [f"{total[node]:.5f},{rng.normal(50, 1):.3f},{rng.normal(0.2, 0.01):.4f}" for node in NODES]
        if row % 11 == 4:
            cells[2] = ",,"
        lines.append(",".join([*([label] if label is not None else []), str(start + STEP * row), *cells]))
    return "\n".join(lines) + "\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, folder, *arguments], capture_output=True, text=True, check=False)


def predictions(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all({"case", "ranking", "detected_at"} == set(each) for each in found)
    return {each["case"]: list(dict.fromkeys(row["node"] for row in each["ranking"])) for each in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cases with another step, times from 0, and each with something that others have not."""
    (tmp_path / "edges.csv").write_text("caller,callee\nentry,cart\ncart,stock\n")
    (tmp_path / "normal.csv").write_text(recording("nobody", seed=1, start=1e6))
    short = [recording(broken, seed=5 + place, rows=10, start=1e5 * (1 + place), label=f"short-{broken}")
             for place, broken in enumerate(NODES)]  # fmt: skip
    (tmp_path / "short.csv").write_text(short[0] + "".join(each.split("\n", 1)[1] for each in short[1:]))
    common = {
        "dataset": "made-here",
        "step_s": STEP,
        "edges": "edges.csv",
        "alert": {"node": "entry", "metric": "latency"},
    }
    cases = []
    for place, broken in enumerate(NODES):
        (tmp_path / f"{broken}.csv").write_text(recording(broken, seed=10 + place))
        truth = {"node": broken, "metric": None, "fault": "slow"}
        inject = STEP * (ROWS - 6)
        whole = {**common, "truth": truth, "t_inject": inject}
        cases += [
            {**whole, "case": f"whole-{broken}", "file": f"{broken}.csv", "t_end": inject + 5 * STEP},
            {**whole, "case": f"no-alert-{broken}", "file": f"{broken}.csv", "alert": None},
            {**whole, "case": f"no-edges-{broken}", "file": f"{broken}.csv", "edges": None, "alert": None},
            {**whole, "case": f"short-{broken}", "file": "short.csv", "baseline": "normal.csv",
             "t_inject": 1e5 * (1 + place) + 4 * STEP},
            {**whole, "case": f"gone-{broken}", "file": "short.csv", "baseline": "missing.csv",
             "t_inject": 1e5 * (1 + place) + 4 * STEP},
        ]  # fmt: skip
    for case in cases:
        if case["case"].startswith("gone"):
            case["case"] = case["case"].replace("gone", "short")
    wholes = [case for case in cases if case.get("baseline") != "missing.csv"]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in wholes))
    (tmp_path / "gone.jsonl").write_text(
        "".join(json.dumps(c) + "\n" for c in cases if c.get("baseline") == "missing.csv")
    )
    return tmp_path


def test_every_case_of_any_such_folder_is_answered(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stderr
    found = predictions(done)
    assert len(found) == 12
    for case, nodes in found.items():
        kind, _, broken = case.rpartition("-")
        assert broken in (nodes if kind == "no-edges" else nodes[:1]), (case, nodes)


def test_without_a_baseline_the_other_recordings_say_how_it_usually_is(folder: Path) -> None:
    (folder / "cases.jsonl").write_text((folder / "gone.jsonl").read_text())
    found = predictions(run(folder))
    assert {case: nodes[0] for case, nodes in found.items()} == {f"short-{node}": node for node in NODES}


def test_what_is_known_of_the_truth_changes_no_answer(folder: Path) -> None:
    before = run(folder).stdout
    cases = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    for case in cases:
        case["truth"] = {"node": "somebody", "metric": "disk", "fault": "?"}
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    assert run(folder).stdout == before


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_answered(folder: Path) -> None:
    (folder / "cart.csv").write_text("no recording\n")
    done = run(folder)
    assert done.returncode == 1
    assert "whole-cart" in done.stderr
    assert "whole-stock" in predictions(done)


@pytest.mark.skipif(not (SHARED / "cases.jsonl").is_file(), reason=f"the public cases are not at {SHARED}")
@pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is missing: pip install 'mendbook[parquet]'"
)
def test_the_public_cases_reach_their_goals() -> None:
    found = predictions(run(SHARED))
    cases = [json.loads(line) for line in (SHARED / "cases.jsonl").read_text().splitlines()]
    for name, goals in GOALS.items():
        own = [case for case in cases if case["dataset"] == name]
        for first, goal in zip((1, 3), goals, strict=True):
            hits = sum(case["truth"]["node"] in found[case["case"]][:first] for case in own)
            assert hits / len(own) >= goal, f"{name}: {hits} of {len(own)} among the first {first}"
