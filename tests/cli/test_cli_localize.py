"""`mendbook localize`: what it says of a recording and of a project's samples, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from engine.model.labels import Batch, Labels
from engine.samples.store import SampleStore
from tests.cli.cli_project import HOSTS, Project

HAS_PARQUET = importlib.util.find_spec("pyarrow") is not None
START = 1_700_000_000
ROWS = 90
BROKEN = 84
"""The row in which the store's processor is taken away, and the store and those who wait for it become slow."""
EDGES = "caller,callee\nfront,shop\nshop,store\nfront,ads\n"


def recording(*, rows: int = ROWS) -> str:
    """A chain of services; each figure sways a little, by a course that is the same each time."""
    nodes = ("front", "shop", "store", "ads")
    head = ["time"] + [f"{node}|{name}" for node in nodes for name in ("latency_mean", "requests", "cpu")]
    lines = [",".join(head)]
    for row in range(rows):
        sway = 1 + 0.02 * math.sin(row * 2.399)
        slow = 0.3 if row >= BROKEN else 0.0
        latency = {"store": 0.05 * sway + slow, "ads": 0.002 * sway}
        latency["shop"] = 0.02 * sway + latency["store"]
        latency["front"] = 0.01 * sway + latency["shop"] + latency["ads"]
        cells = [str(START + 60 * row)]
        for node in nodes:
            cpu = 0.97 if node == "store" and row >= BROKEN else 0.30 * sway
            cells += [
                f"{latency[node]:.5f}",
                f"{100 * sway:.3f}",
                "" if (node, row % 7) == ("ads", 3) else f"{cpu:.4f}",
            ]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


@pytest.fixture
def files(empty: Project) -> Project:
    empty.write("day.csv", recording())
    empty.write("calls.csv", EDGES)
    return empty


def test_what_people_read_of_a_recording_is_as_agreed(files: Project) -> None:
    files.golden("localize", files.run("localize", "--input", "day.csv", "--edges", "calls.csv"), aligned=False)


def test_help_is_as_agreed(empty: Project) -> None:
    empty.golden("help-localize", empty.run("localize", "--help"))


def test_help_imports_no_numbers() -> None:
    script = (
        "import sys; from engine.cli.main import run; run(['localize', '--help']); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 0


def test_the_deepest_node_is_named_with_its_resource_onset_and_evidence(files: Project) -> None:
    told = json.loads(files.run("localize", "--input", "day.csv", "--edges", "calls.csv", "-o", "json").out)
    first = told["suspects"][0]
    assert (first["node"], first["resource"], told["sure"]) == ("store", "cpu", True)
    assert abs(told["onset"] - (START + 60 * BROKEN)) <= 60
    assert told["onset"] <= told["detected_at"] <= told["at"]
    assert "0.97 at its worst" in first["evidence"][0]
    assert "of which no callee explains" in " ".join(first["evidence"])


def test_programs_get_the_same_in_every_form(files: Project) -> None:
    said = [files.run("localize", "--input", "day.csv", "-o", form).out for form in ("json", "jsonl", "yaml")]
    in_json, in_lines, in_yaml = json.loads(said[0]), json.loads(said[1]), yaml.safe_load(said[2])
    assert in_json == in_lines == in_yaml


def test_before_it_began_there_is_nothing_to_say(files: Project) -> None:
    quiet = files.run("localize", "--input", "day.csv", "--edges", "calls.csv", "--at", str(START + 60 * (BROKEN - 8)))
    assert quiet.code == 0
    assert "nothing unusual" in quiet.out


def test_an_alarm_keeps_to_what_its_node_needs(files: Project) -> None:
    common = ("localize", "--input", "day.csv", "--edges", "calls.csv", "-o", "json", "--alarm")
    told = json.loads(files.run(*common, "shop|latency").out)
    assert {each["node"] for each in told["suspects"]} <= {"shop", "store"}
    assert told["suspects"][0]["node"] == "store"


@pytest.mark.parametrize(("rows", "code"), [(ROWS, 2), (9, 4)])
def test_the_exit_code_says_whether_there_is_a_suspect(files: Project, rows: int, code: int) -> None:
    files.write("day.csv", recording(rows=rows))
    assert files.run("localize", "--input", "day.csv", "--detailed-exitcode").code == code
    assert files.run("localize", "--input", "day.csv").code == 0


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("time,a|cpu\n1,2\n2,many\n", "day.csv:3", "'many' in column 'a|cpu' is no number"),
        ("time,a|cpu\n1,2,3\n", "day.csv:2", "3 cells, but the head has 2"),
        ("time,cpu\n1,2\n", "day.csv:1", "column 'cpu' is not understood"),
        ("time,a|cpu,a|cpu\n1,2,3\n", "day.csv:1", "'a|cpu' stands there twice"),
        ("time,a|cpu\n,2\n", "day.csv:2", "a row has no time"),
        ("time,a|cpu\n", "day.csv", "there are no samples"),
        ("", "day.csv", "there are no samples"),
    ],
)
def test_a_mistake_in_a_recording_is_shown_at_its_line(files: Project, text: str, place: str, words: str) -> None:
    files.write("day.csv", text)
    refused = files.run("localize", "--input", "day.csv")
    assert (refused.code, refused.out) == (1, "")
    assert f"Origin: {place}" in refused.err
    assert words in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("from,to\na,b\n", "calls.csv:1", "its first line must be caller,callee"),
        ("caller,callee\nfront\n", "calls.csv:2", "is no pair of nodes"),
        ("", "calls.csv:1", "its first line must be caller,callee"),
    ],
)
def test_a_mistake_in_the_calls_is_shown_at_its_line(files: Project, text: str, place: str, words: str) -> None:
    files.write("calls.csv", text)
    refused = files.run("localize", "--input", "day.csv", "--edges", "calls.csv")
    assert (refused.code, f"Origin: {place}" in refused.err, words in refused.err) == (1, True, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--edges", "calls.csv"), 64, "--edges goes with --input"),
        (("--input", "day.csv", "--step", "15s"), 64, "--step does not go with --input"),
        (("--input", "day.csv", "--alarm", "shop"), 64, "write it like 'shop|latency'"),
        (("--input", "day.csv", "--alarm", "shpo|latency"), 64, "did you mean 'shop'?"),
        (("--input", "day.csv", "--at", "2001-01-01 00:00"), 64, "there is no sample at or before"),
        (("--input", "nothing.csv"), 1, "there is no such file"),
        (("--input", "calls.xls"), 1, "there is no such file"),
        ((), 75, "there are no samples yet"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(
    files: Project, arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused = files.run("localize", *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err


def test_a_file_of_an_unknown_kind_is_refused(files: Project) -> None:
    files.write("day.xls", "x")
    assert "it takes .parquet, .csv or .csv.gz" in files.run("localize", "--input", "day.xls").err


@pytest.mark.skipif(HAS_PARQUET, reason="pyarrow is installed: pip uninstall pyarrow to see what is said without it")
def test_without_the_reader_a_parquet_file_says_what_to_install(files: Project) -> None:
    files.write("day.parquet", "PAR1")
    assert "pip install 'mendbook[parquet]'" in files.run("localize", "--input", "day.parquet").err


@pytest.mark.skipif(not HAS_PARQUET, reason="pyarrow is missing: pip install 'mendbook[parquet]'")
def test_parquet_says_the_same_as_csv(files: Project) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(files.root / "day.csv")
    pyarrow.parquet.write_table(table, files.root / "day.parquet")
    said = [files.run("localize", "--input", f"day.{kind}", "-o", "json").out for kind in ("csv", "parquet")]
    assert said[0] == said[1]


@pytest.mark.skipif(not HAS_PARQUET, reason="pyarrow is missing: pip install 'mendbook[parquet]'")
def test_a_file_that_is_no_parquet_is_said_to_be_none(files: Project) -> None:
    files.write("day.parquet", "not at all")
    refused = files.run("localize", "--input", "day.parquet")
    assert (refused.code, "cannot be read" in refused.err) == (1, True)


@pytest.fixture
def sampled(project: Project) -> Project:
    """A project whose web-1 has lost its memory in the last minute, and waits for nothing; its name is not its instance."""
    project.write(
        "inventory/hosts.yml",
        HOSTS.replace("web-1: {}", "web-1: {mendbook_instance: '10.0.0.9:9100', depends_on: [store-1]}"),
    )
    instances = ("10.0.0.9:9100", "web-2", "store-1")
    series = [Labels({"__name__": "node_memory_MemAvailable_bytes", "instance": each}) for each in instances]
    series += [
        Labels({"__name__": "process_resident_memory_bytes", "instance": "10.0.0.9:9100", "groupname": name})
        for name in ("leaky", "nginx")
    ]
    now = time.time()
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        for back in range(80, -1, -1):
            taken = 6e9 if back < 5 else 0.0
            sway = 1e7 * math.sin(back * 2.399)
            values = (8e9 - taken + sway, 8e9 + sway, 4e9 - sway, 5e8 + taken, 2e8 + sway)
            store.append(Batch(now - 15.0 * back, tuple(series), values))
    return project


def test_the_samples_of_a_project_name_host_resource_and_culprit(sampled: Project) -> None:
    told = json.loads(sampled.run("localize", "--step", "15s", "-o", "json").out)
    first = told["suspects"][0]
    assert (first["node"], first["resource"], first["culprit"]) == ("web-1", "memory", "leaky")
    assert {each["node"] for each in told["suspects"]} == {"web-1"}
    assert abs(told["at"] - 60.0 - told["onset"]) <= 30.0


def test_what_the_default_watch_was_alarmed_by_is_evidence(project: Project) -> None:
    from engine.app.anomalies import Anomalies

    now = time.time()
    leaky = Labels({"__name__": "process_resident_memory_bytes", "instance": "web-1", "groupname": "leaky"})
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        watch = Anomalies(store, project.root / "usual.npz", interval=15, most=10)
        for back in range(50, -1, -1):
            taken = 2e9 if back < 5 else 0.0
            store.append(Batch(now - 15.0 * back, (leaky,), (5e8 + taken + 1e7 * math.sin(back * 2.399),)))
            store.append(watch.collect(now - 15.0 * back))
    told = json.loads(project.run("localize", "--step", "15s", "-o", "json").out)
    (first,) = told["suspects"]
    assert (first["node"], first["resource"], first["culprit"]) == ("web-1", "memory", "leaky")
    assert first["evidence"][-1].startswith(
        "the watch has been in alarm for 45 s: process_resident_memory_bytes (leaky)"
    )
    assert told["onset"] <= told["detected_at"] <= now - 44.0


@pytest.fixture
def rested(project: Project) -> Project:
    """A project in which a figure wanders a little further than it did, by what nobody would call trouble."""
    labels = Labels({"__name__": "shop_latency_seconds", "instance": "web-1"})
    now = time.time()
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        for back in range(80, -1, -1):
            wandered = 0.02 if back < 5 else 0.0
            store.append(Batch(now - 15.0 * back, (labels,), (0.2 + wandered + 0.005 * math.sin(back * 2.399),)))
    return project


def test_where_nothing_stands_out_it_says_so_first(rested: Project) -> None:
    said = rested.run("localize", "--step", "15s")
    assert said.out.startswith(
        "no incident is open, and nothing stands out: what follows is the least usual\nlatency of web-1"
    )
    assert json.loads(rested.run("localize", "--step", "15s", "-o", "json").out)["stands_out"] is False


def test_of_a_moment_in_the_past_it_says_nothing_of_incidents(rested: Project) -> None:
    said = rested.run("localize", "--step", "15s", "--at", "1s")
    assert said.out.startswith("nothing stands out: what follows is the least usual\nlatency of web-1")


def test_where_something_stands_out_nothing_is_put_before_it(sampled: Project) -> None:
    assert "stands out" not in sampled.run("localize", "--step", "15s").out
    assert json.loads(sampled.run("localize", "--step", "15s", "-o", "json").out)["stands_out"] is True


def test_ends_of_a_course_have_so_many_digits_that_they_differ() -> None:
    from engine.cli.localize import told_apart

    assert told_apart(6.0) == ["6"]
    assert told_apart(0.2957, 0.97) == ["0.2957", "0.97"]
    assert told_apart(8e9, 8e9 + 1e6) == ["8,000,000,000", "8,001,000,000"]


def test_a_moment_before_it_began_may_be_asked_about(sampled: Project) -> None:
    told = sampled.run("localize", "--step", "15s", "--at", "3m")
    assert (told.code, "nothing unusual" in told.out) == (0, True)
    assert sampled.run("localize", "--step", "15s", "--at", "3h").code == 75


def test_people_read_of_a_project_what_programs_do(sampled: Project) -> None:
    told = sampled.run("localize", "--step", "15s")
    assert told.code == 0
    assert told.out.startswith("memory of web-1, leaky since ")
    assert "node_memory_MemAvailable_bytes" in told.out
    assert "who calls whom" not in told.err


def test_a_recording_may_be_compressed(files: Project) -> None:
    import gzip

    (files.root / "day.csv.gz").write_bytes(gzip.compress(Path("day.csv").read_bytes()))
    plain, packed = (files.run("localize", "--input", name, "-o", "json").out for name in ("day.csv", "day.csv.gz"))
    assert plain == packed
