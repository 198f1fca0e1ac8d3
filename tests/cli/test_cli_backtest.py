"""`mendbook backtest`: what people and programs are told, of a project's own samples and of recordings."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.model.decision import Change, Entry
from engine.model.incident import Incident, IncidentState, Outcome
from engine.model.labels import Batch, Labels
from engine.records.store import Record
from engine.samples.store import SampleStore
from tests.cli.cli_project import RUNBOOK, Project

STEP = 15
LENGTH = 960
"""Samples of each series: four hours."""
SHORT = {"web-1": range(300, 360), "web-2": range(700, 704)}
"""When little memory is free: a quarter of an hour, and a minute."""
BEGIN = 1_795_000_005
"""No multiple of the interval."""
BOOK = RUNBOOK.replace("for: 3h", "for: 2m")
DRAFT = (
    BOOK.replace("memory-short", "memory-early").replace("MemoryShort", "MemoryEarly").replace("for: 2m", "for: 30s")
)
DRAFT = DRAFT.replace("localize: {resource: memory}", "localize: {resource: memory}\npriority: 5")
SETTINGS = "sources: {host: false}\nrunbooks: runbooks\ninterval: 15s\n"


def free(host: str, number: int) -> float:
    return 50.0 if number in SHORT[host] else 500.0


def recording(begin: int = BEGIN) -> str:
    """Return OpenMetrics."""
    lines = [
        f'memory_free_bytes{{instance="{host}"}} {free(host, number)} {begin + STEP * number}'
        for number in range(LENGTH)
        for host in SHORT
    ]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
def files(project: Project) -> Project:
    """A project with a recording of four hours and a draft, without samples of its own."""
    project.write("mendbook.yml", SETTINGS)
    project.write("inventory/hosts.yml", "all: {hosts: {web-1: {}, web-2: {}}}\n")
    project.write("runbooks/memory-short.yml", BOOK)
    project.write("draft.yml", DRAFT)
    project.write("samples.om", recording())
    return project


@pytest.fixture
def lived(files: Project) -> Project:
    """The same with samples and a record of the last four hours: web-1's fault was seen late, another by nobody's rule."""
    begin = (int(time.time()) // STEP - LENGTH) * STEP + 5  # the same beside the ticks, whenever it is
    series = tuple(Labels({"__name__": "memory_free_bytes", "instance": host}) for host in SHORT)
    with SampleStore(files.root / ".mendbook" / "samples") as store:
        for number in range(LENGTH):
            store.append(Batch(begin + STEP * number, series, tuple(free(host, number) for host in SHORT)))
    with Record(files.root / ".mendbook" / "record.sqlite3") as record:
        write(record, Change(0, begin, (Entry("engine", "the engine began"),)))
        write(record, opened("inc-late", "web-1", begin + STEP * 330, begin + STEP * 362))
        write(record, opened("inc-brief", "web-2", begin + STEP * 702, begin + STEP * 710))
    return files


def opened(name: str, host: str, at: float, ended: float) -> Change:
    incident = Incident(
        name, host, "memory", IncidentState.RESOLVED, at, runbook="memory-short", first_active=at - 60,
        changed_at=ended, ended_at=ended, outcome=Outcome.RESOLVED,
    )  # fmt: skip
    return Change(0, at, (Entry("fault", f"memory of {host}", name, host),), incident=incident)


def write(record: Record, change: Change) -> None:
    assert record.commit(replace(change, version=record.standing(change.at).version))


def told(project: Project, *arguments: str) -> dict:  # type: ignore[type-arg]
    result = project.run("backtest", *arguments, "-o", "json")
    assert result.code == 0, result.err
    return json.loads(result.out)  # type: ignore[no-any-return]


def test_people_read_what_would_have_been_decided(files: Project) -> None:
    files.golden("backtest-recording", files.run("backtest", "memory-short", "--input", "samples.om"))


def test_firings_stand_beside_what_the_record_has(lived: Project) -> None:
    result = lived.run("backtest", "memory-short")
    assert "run-" not in result.out, "nothing was run that could be looked up by a name"
    lived.golden("backtest", result)


def test_what_is_caught_and_by_how_much_earlier(lived: Project) -> None:
    found = told(lived, "memory-short")
    (firing,) = found["firings"]
    assert (firing["target"], firing["known"]) == ("web-1", ["inc-late"])
    assert STEP * 20 < firing["earlier"] <= STEP * 23
    late, brief = found["known"]
    assert (late["id"], late["caught"], late["earlier"]) == ("inc-late", True, firing["earlier"])
    assert (brief["id"], brief["caught"]) == ("inc-brief", False)
    assert brief["why"] == "the condition held for 45s at most, and `for` is 120s"


def test_a_draft_is_tried_beside_the_runbooks_that_there_are(lived: Project) -> None:
    found = told(lived, "./draft.yml")
    assert found["runbook"] == "memory-early"
    assert [each["known"] for each in found["firings"]] == [["inc-late"], ["inc-brief"]]
    assert found["known"][0]["earlier"] > told(lived, "memory-short")["known"][0]["earlier"]
    assert "memory-early" not in {path.stem for path in (lived.root / "runbooks").iterdir()}


def test_nothing_is_written_and_nothing_is_run(lived: Project) -> None:
    def standing() -> dict[str, bytes]:
        return {str(each): each.read_bytes() for each in lived.root.rglob("*") if each.is_file()}

    before = standing()
    assert told(lived, "memory-short")["runs"] == 1
    after = standing()
    kept = {name for name in after if not name.endswith(("-shm", "-wal", "inventory.json"))}
    assert {name: after[name] for name in kept} == {name: before.get(name) for name in kept}
    with Record(lived.root / ".mendbook" / "record.sqlite3", read_only=True) as record:
        assert record.standing(time.time()).executions == ()


@pytest.mark.parametrize(
    ("mode", "more", "runs", "guard"),
    [
        ("auto", (), 1, None),
        ("shadow", (), 0, "mode"),
        ("approve", (), 0, "approval"),
        ("approve", ("--approved",), 1, None),
        ("shadow", ("--approved",), 0, "mode"),
        ("declared", (), 1, None),
    ],
)
def test_modes_decide_what_is_run_and_what_is_held(
    files: Project, mode: str, more: tuple[str, ...], runs: int, guard: str | None
) -> None:
    found = told(files, "memory-short", "--input", "samples.om", "--mode", mode, *more)
    assert found["runs"] == runs
    guards = [each["guard"] for moment in found["firings"][0]["moments"] for each in moment["guards"]]
    assert guards[:1] == ([guard] if guard else [])


@pytest.mark.parametrize("change", [("100", "for: 2m", "for: 10s"), ("30", "for: 2m", "for: 2m")])
def test_params_may_be_compared_with_what_they_are(files: Project, change: tuple[str, str, str]) -> None:
    files.write("runbooks/memory-short.yml", BOOK.replace(change[1], change[2]))
    value = "600" if change[0] == "100" else change[0]
    result = files.run(
        "backtest", "memory-short", "--input", "samples.om", "--set", f"least={value}", "--compare", "-o", "json"
    )
    plain, changed = json.loads(result.out)
    assert (plain["params"], changed["params"]) == ({"least": 100}, {"least": int(value)})
    firings = {(each["target"], each["began"]) for each in plain["firings"]}
    others = {(each["target"], each["began"]) for each in changed["firings"]}
    assert firings != others


def test_people_read_two_beside_each_other(files: Project) -> None:
    compared = ("backtest", "memory-short", "--input", "samples.om", "--set", "least=30", "--compare")
    files.golden("backtest-compare", files.run(*compared))


def recompressed(root: Path) -> str:
    (root / "samples.om.gz").write_bytes(gzip.compress((root / "samples.om").read_bytes()))
    return "samples.om.gz"


def milliseconds(root: Path) -> str:
    lines = (line.rsplit(" ", 1) for line in (root / "samples.om").read_text().splitlines()[:-1])
    (root / "samples.prom").write_text("".join(f"{series} {int(at) * 1000}\n" for series, at in lines))
    return "samples.prom"


def stored(root: Path) -> str:
    with SampleStore(root / "elsewhere" / ".mendbook" / "samples", retention=1e10) as store:
        for number in range(LENGTH):
            series = tuple(Labels({"__name__": "memory_free_bytes", "instance": host}) for host in SHORT)
            store.append(Batch(BEGIN + STEP * number, series, tuple(free(host, number) for host in SHORT)))
    return "elsewhere"


def within(root: Path) -> str:
    return f"{stored(root)}/.mendbook"


def bare(root: Path) -> str:
    return f"{stored(root)}/.mendbook/samples"


@pytest.mark.parametrize("form", [recompressed, milliseconds, stored, within, bare])
def test_a_recording_says_the_same_in_every_form(files: Project, form: Callable[[Path], str]) -> None:
    one = told(files, "memory-short", "--input", "samples.om")
    other = told(files, "memory-short", "--input", form(files.root))
    assert len(one["firings"]) == 1
    assert other == one


def test_programs_get_the_same_in_every_format(files: Project) -> None:
    command = ("backtest", "memory-short", "--input", "samples.om", "-o")
    in_json, in_lines, in_yaml = (files.run(*command, each).out for each in ("json", "jsonl", "yaml"))
    assert json.loads(in_json) == json.loads(in_lines) == yaml.safe_load(in_yaml)


def test_a_recording_of_the_time_of_the_record_is_compared_with_it(lived: Project) -> None:
    begin = int(time.time()) - STEP * LENGTH
    lived.write("samples.om", recording(begin))
    found = told(lived, "memory-short", "--input", "samples.om")
    assert [each["id"] for each in found["known"]] == ["inc-late", "inc-brief"]
    assert found["recorded_since"] is not None


def test_samples_that_come_seldom_are_judged_at_their_own_pace(files: Project) -> None:
    text = "".join(f'memory_free_bytes{{instance="web-1"}} 50 {BEGIN + 60 * number}\n' for number in range(60))
    files.write("slow.om", text + "# EOF\n")
    found = told(files, "memory-short", "--input", "slow.om")
    assert [each["target"] for each in found["blind"]] == ["web-2"]
    assert len(found["firings"]) == 1


def test_a_span_that_is_longer_than_history_says_where_that_begins(lived: Project) -> None:
    short, longer = (lived.run("backtest", "memory-short", "--since", each) for each in ("1h", "30d"))
    assert "samples begin only then" not in short.out
    assert "samples begin only then; it was to begin at 20" in longer.out
    assert "samples begin only then" not in lived.run("backtest", "memory-short").out


@pytest.mark.parametrize(
    ("least", "code"), [("100", 2), ("10", 0), ("missing_metric", 4)], ids=["runs", "nothing", "unjudged"]
)
def test_the_exit_code_says_what_came_of_it(files: Project, least: str, code: int) -> None:
    command = ("backtest", "memory-short", "--input", "samples.om", "--set", f"least={least}")
    assert files.run(*command, "--detailed-exitcode").code == code
    assert files.run(*command).code == 0


@pytest.mark.parametrize(
    ("name", "text", "code", "words"),
    [
        ("x.om", "memory_free_bytes 5 1795000000\nmemory_free_bytes{ 5\n# EOF\n", 1, "Origin: x.om:2:1"),
        ("x.om", "memory_free_bytes 5 1795000000\n", 1, "the last line must be '# EOF'"),
        ("x.om", "memory_free_bytes 5 1795000000000\n# EOF\n", 1, "leave that line out, or write seconds"),
        ("x.om", "# EOF\n", 75, "there are no samples in x.om"),
        ("x.om.gz", "memory_free_bytes 5 1795000000000\n", 1, "what is not compressed must not end in .gz"),
        ("empty/none.txt", "", 75, "there are no samples in empty: name a project"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused_with_place_and_fix(
    files: Project, name: str, text: str, code: int, words: str
) -> None:
    files.write(name, text)
    refused = files.run("backtest", "memory-short", "--input", name.partition("/")[0])
    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("name", "text", "code", "words"),
    [
        ("d.yml", DRAFT.replace("trigger:", "triger:"), 1, "Origin: d.yml:5:1"),
        ("d.yml", DRAFT.replace("memory_free_bytes <", "memory_free_bytes < ("), 1, "'(' is never closed"),
        ("d.yml", DRAFT.replace("restart.yml", "restrt.yml"), 1, "did you mean 'restart.yml'?"),
        ("d.yml", "", 1, "the file is empty"),
        ("d/d.yml", DRAFT, 64, "'d' is a folder: name a file in it, as in d.yml"),
    ],
)
def test_a_draft_that_cannot_be_used_is_refused_before_anything_is_read(
    files: Project, name: str, text: str, code: int, words: str
) -> None:
    files.write(name, text)
    files.write("broken.om", "{")
    refused = files.run("backtest", f"./{name.partition('/')[0]}", "--input", "broken.om")
    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err
    assert "broken.om" not in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("memory-short",), 75, "there are no samples yet: they begin with `mendbook watch`"),
        (("memory-short", "--input", "nothing.om"), 64, "'nothing.om' does not exist"),
        (("nothing.yml",), 64, "there is no file 'nothing.yml'; name a runbook of the project, or the file of a draft"),
        (("memory-short.yml",), 64, "the project has a runbook of that name: ask for 'memory-short'"),
        (("memory-shrt",), 64, "did you mean 'memory-short'?"),
        (("x",), 64, "there are memory-short (a draft is named by its file, as in ./draft.yml)"),
        (("memory-short", "--since", "soon"), 64, "'soon' is no time"),
        (("memory-short", "--set", "least"), 64, "--set takes PARAM=VALUE"),
        (("memory-short", "--set", "lest=1"), 64, "did you mean 'least'?"),
        (("memory-short", "--interval", "0s"), 64, "'0s'"),
        (
            ("memory-short", "--input", "samples.om", "--since", "2026-11-19", "--until", "2026-11-18"),
            64,
            "--since must be before --until",
        ),
        (
            ("memory-short", "--input", "samples.om", "--since", "2027-01-01"),
            75,
            "there are no samples in that time: they",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(
    files: Project, arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused = files.run("backtest", *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err


def test_other_runbooks_with_mistakes_are_left_out_with_a_word(files: Project) -> None:
    files.write("runbooks/other.yml", "runbook: other\n")
    result = files.run("backtest", "memory-short", "--input", "samples.om")
    assert result.code == 0
    assert result.err.count("left out, with errors that `mendbook lint` shows: runbooks/other.yml") == 1
    compared = files.run("backtest", "memory-short", "--input", "samples.om", "--set", "least=9", "--compare")
    assert compared.err.count("left out") == 1
    assert "left out" not in files.run("backtest", "memory-short", "--input", "samples.om", "--alone").err


def test_a_project_on_a_server_is_told_how_to_record_it(files: Project) -> None:
    files.write("mendbook.yml", SETTINGS + "evaluator: {prometheus: http://127.0.0.1:1}\n")
    refused = files.run("backtest", "memory-short")
    assert (refused.code, "name the file with --input" in refused.err) == (1, True)
    assert files.run("backtest", "memory-short", "--input", "samples.om").code == 0


def test_a_record_that_cannot_be_read_keeps_nobody_from_replaying_a_recording(files: Project) -> None:
    files.write(".mendbook/record.sqlite3", "not a database at all, but long enough to look like a page\n")
    result = files.run("backtest", "memory-short", "--input", "samples.om")
    assert result.code == 0
    assert "nothing is compared with the record" in result.err
