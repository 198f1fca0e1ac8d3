"""Prometheus's own cases, held in full: what is in scope passes, what is not is counted with its reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from promql_script import Script, Verdict

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "promqltest"
OWN = Path(__file__).parent / "cases"


def given(config: pytest.Config) -> list[Path]:
    wanted = config.getoption("--cases")
    return sorted(Path(wanted).glob("*.test")) if wanted else sorted(SHARED.glob("*.test"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "upstream" in metafunc.fixturenames:
        metafunc.parametrize("upstream", given(metafunc.config), ids=lambda path: path.name)


def told(verdicts: list[Verdict]) -> str:
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    reasons = Counter(verdict.why for verdict in verdicts if verdict.outcome == "skipped")
    skipped = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    counts = f"{outcomes['passed']} passed, {outcomes['failed']} failed, {outcomes['skipped']} skipped"
    return f"{counts} ({skipped})" if skipped else counts


def failures(path: Path, verdicts: list[Verdict]) -> str:
    wrong = [verdict for verdict in verdicts if verdict.outcome == "failed"]
    return "\n".join(f"{path.name}:{verdict.line}: {verdict.query}\n    {verdict.why}" for verdict in wrong)


def test_every_upstream_case_in_scope_passes(upstream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = list(Script(names_last=True).run(upstream))
    with capsys.disabled():
        print(f"\n{upstream.name}: {told(verdicts)}", end=" ")
    assert verdicts, f"{upstream} holds no case"
    assert not failures(upstream, verdicts), "\n" + failures(upstream, verdicts)


def test_the_upstream_cases_are_there(pytestconfig: pytest.Config) -> None:
    wanted = pytestconfig.getoption("--cases")
    if not wanted and not given(pytestconfig):
        pytest.skip(f"no *.test files in {SHARED}: point --cases to Prometheus's promql/promqltest/testdata")
    assert given(pytestconfig), f"no *.test files in {wanted}"


@pytest.mark.parametrize("path", sorted(OWN.glob("*.test")), ids=lambda path: path.name)
def test_every_own_case_passes(path: Path) -> None:
    verdicts = list(Script(names_last=path.stem.startswith("names_last")).run(path))
    assert verdicts
    assert {verdict.outcome for verdict in verdicts} == {"passed"}, "\n" + failures(path, verdicts)
