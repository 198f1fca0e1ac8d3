"""What commands say where a Prometheus server evaluates."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from engine.cli.exits import Exit
from tests.cli.cli_project import SETTINGS, Project
from tests.fakes.prometheus import Reply, Server, reply, result, vector


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def asking(project: Project, server: Server) -> Project:
    project.write("mendbook.yml", f"{SETTINGS}evaluator: {{prometheus: 'http://me:secret@127.0.0.1:{server.port}'}}\n")
    return project


def evaluator_check(project: Project) -> dict[str, str]:
    shown = project.run("doctor", "-o", "json").out
    assert "secret" not in shown
    (check,) = (each for each in json.loads(shown) if each["name"] == "evaluator")
    found: dict[str, str] = check
    return found


@pytest.mark.parametrize(
    ("version", "lookback", "level", "words"),
    [
        ("3.5.3", True, "ok", "Prometheus 3.5.3 at http://127.0.0.1:"),
        ("2.53.0", True, "warn", "a range began with the sample at its very start before 3.0"),
        ("3.5.3", False, "warn", "does not know lookback_delta"),
    ],
)
def test_doctor_says_what_the_server_is_and_what_it_lacks(
    asking: Project, server: Server, version: str, lookback: bool, level: str, words: str
) -> None:
    def one(form: dict[str, str]) -> Reply:
        if form.get("lookback_delta") == "none" and lookback:
            return reply({"status": "error", "error": "cannot parse"}, 400)
        return vector(("a", 1))

    server.reply = one
    server.pages["/api/v1/status/buildinfo"] = result({"version": version, "revision": "abc"})
    check = evaluator_check(asking)
    assert check["level"] == level
    assert words in check["sentence"]


def test_doctor_says_that_the_server_is_down(asking: Project, server: Server) -> None:
    server.reply = lambda _: (502, {}, b"")
    check = evaluator_check(asking)
    assert check["level"] == "fail"
    assert check["sentence"] == f"{server.url}: HTTP status 502 Bad Gateway"


def test_without_a_server_doctor_has_nothing_to_say_of_one(project: Project) -> None:
    names = [each["name"] for each in json.loads(project.run("doctor", "-o", "json").out)]
    assert "evaluator" not in names


def test_lint_asks_the_server_which_metrics_there_are(asking: Project, server: Server) -> None:
    names = "/api/v1/label/__name__/values"
    assert f"{server.url}: HTTP status 404 Not Found: whether" in asking.run("lint").err
    server.pages[names] = result([])
    assert f"{server.url} has no samples: whether" in asking.run("lint").err
    server.pages[names] = result(["memory_free_byte", 7])
    (problem,) = json.loads(asking.run("lint", "-o", "json").out)
    assert (problem["code"], problem["fix"]) == ("no-series", "did you mean 'memory_free_byte'?")
    server.pages[names] = result(["memory_free_bytes"])
    assert json.loads(asking.run("lint", "-o", "json").out) == []


def test_why_says_what_the_server_says(asking: Project, server: Server) -> None:
    def low(form: dict[str, str]) -> Reply:
        return vector(("web-1:9100", time.time() if "timestamp" in form["query"] else 50))

    server.reply = low
    (known,) = json.loads(asking.run("why", "web-1", "-o", "json").out)["conditions"]
    assert known["truth"] == "true"
    (other,) = json.loads(asking.run("why", "web-2", "-o", "json").out)["conditions"]
    assert (other["truth"], other["missing"]) == ("unknown", ["no series memory_free_bytes here"])


def test_audit_judges_by_what_the_server_says(asking: Project, server: Server) -> None:
    server.reply = lambda form: vector(("web-1:9100", time.time() if "timestamp" in form["query"] else 50))
    told = asking.run("audit", "--detailed-exitcode")
    assert "web-1" in told.out
    server.reply = lambda _: (502, {}, b"")
    blind = asking.run("audit", "--detailed-exitcode")
    assert blind.code == Exit.UNJUDGED
    assert "HTTP status 502 Bad Gateway" in blind.out + blind.err


def test_why_shows_the_parts_of_an_expression_as_the_server_evaluates_them(asking: Project, server: Server) -> None:
    points = {"metric": {"instance": "web-1"}, "values": [[1.5, "1"], [2, "+Inf"]]}

    def parts(form: dict[str, str]) -> Reply:
        match form["query"]:
            case query if query.startswith("memory_free_bytes"):
                return result({"resultType": "matrix", "result": [points]})
            case query if query.startswith("max_over_time"):
                return vector(("web-1", 50))
            case _:
                return reply({"status": "error", "error": "query timed out"}, 503)

    server.reply = parts
    shown = asking.run("why", "web-1", "--expr", "max_over_time(memory_free_bytes[5m]) < 100").out
    assert shown.splitlines() == [
        'max_over_time(memory_free_bytes{instance=~"web-1(:[0-9]+)?|"}[5m]) < 100',
        '  = 1 series: {instance="web-1"} 50',
        '  max_over_time(memory_free_bytes{instance=~"web-1(:[0-9]+)?|"}[5m])',
        '    = 1 series: {instance="web-1"} 50',
        '    memory_free_bytes{instance=~"web-1(:[0-9]+)?|"}[5m]',
        '      = 1 series: {instance="web-1"} 2 samples, last +Inf',
    ]
    broken = asking.run("why", "web-1", "--expr", "up").out
    assert "= error: query timed out" in broken


@pytest.mark.parametrize("command", ["lint", "audit", "watch"])
def test_what_the_server_cannot_evaluate_is_said_first_with_its_place(
    asking: Project, server: Server, command: str
) -> None:
    def old(form: dict[str, str]) -> Reply:
        if "memory_free_bytes <" in form["query"]:
            words = 'invalid parameter "query": 1:1: parse error: unknown function with name "memory_free_bytes"'
            return reply({"status": "error", "errorType": "bad_data", "error": words}, 400)
        return vector(("web-1:9100", 50))

    server.reply = old
    arguments = {"lint": (), "audit": ("--wait", "0"), "watch": ("--for", "200ms", "--lines")}[command]
    ran = asking.run(command, *arguments)
    said = ran.out + ran.err
    assert "server-refuses" in said
    assert "cannot evaluate what memory-short asks" in said
    assert "runbooks/memory-short.yml:" in said
    assert "unknown function" in said


def test_a_server_that_cannot_be_asked_refuses_nothing(asking: Project, server: Server) -> None:
    server.reply = lambda _: (502, {}, b"")
    ran = asking.run("lint")
    assert "HTTP status 502 Bad Gateway: whether the server can evaluate" in ran.err
    assert "server-refuses" not in ran.out
