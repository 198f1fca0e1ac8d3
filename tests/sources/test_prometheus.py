"""The evaluator over HTTP, beside servers that are down, slow, huge, wrong, or want to know who asks."""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import bomb

from engine.model.truth import Answer, Query, Truth
from engine.sources.prometheus import PrometheusEvaluator
from engine.sources.query_api import Abilities, Failure
from tests.fakes.prometheus import AT, Reply, Server, reply, result, vector

UP = Query("up == 1")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[..., Answer]]:
    made: list[PrometheusEvaluator] = []

    def asking(query: Query = UP, url: str | None = None, **options: Any) -> Answer:
        evaluator = PrometheusEvaluator(url or server.url, fresh=45.0, **{"timeout": 10.0, **options})
        made.append(evaluator)
        (answer,) = evaluator.answer([query], AT)
        return answer

    yield asking
    for evaluator in made:
        evaluator.close()


def test_a_server_that_answers_says_what_is_the_case(server: Server, ask: Callable[..., Answer]) -> None:
    answer = ask()
    assert answer.error is None
    assert answer.truth({"a"}) is Truth.TRUE
    assert answer.truth({"b"}) is Truth.UNKNOWN
    assert {form["time"] for form in server.asked} == {"1760000000.000"}
    assert {form["timeout"] for form in server.asked} == {"10s"}


def test_a_server_that_is_down_leaves_every_answer_unknown() -> None:
    server = Server()
    url = server.url
    server.close()
    evaluator = PrometheusEvaluator(url.replace("//", "//someone:secret@"), fresh=45.0)
    answers = evaluator.answer([UP, Query("rate(x[5m]) > 1"), Query("sum(")], AT)
    evaluator.close()
    assert [answer.truth({"a"}) for answer in answers] == [Truth.UNKNOWN] * 3
    assert answers[0].error is not None
    assert answers[0].error.startswith(f"{url}: ")
    assert "secret" not in str(answers)
    assert answers[2].error is not None
    assert answers[2].error.startswith("does not parse")


def test_a_server_that_keeps_silent_costs_no_more_than_the_time_allowed(
    server: Server, ask: Callable[..., Answer]
) -> None:
    def wait(form: dict[str, str]) -> Reply:
        server.released.wait(20)
        return vector()

    server.reply = wait
    answer = ask(timeout=0.3)
    assert answer.error == f"{server.url}: no whole answer within 0.3 s"


def test_errors_are_in_the_servers_own_words(server: Server, ask: Callable[..., Answer]) -> None:
    words = "query processing would load too many samples into memory in query execution"
    server.reply = lambda _: reply({"status": "error", "errorType": "execution", "error": words}, 422)
    assert ask().error == words


def test_when_only_the_question_about_data_fails_the_answer_is_unknown(
    server: Server, ask: Callable[..., Answer]
) -> None:
    failed = reply({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503)
    server.reply = lambda form: failed if "timestamp" in form["query"] else vector(("a", 1))
    answer = ask()
    assert answer.error == "what data up has is not known: query timed out"
    assert not answer.samples


DEEP = b"[" * 100_000
NOT_JSON = "what it answers is not the JSON of a Prometheus server"
NO_RESULT = "what it answers is no result of a query"
HALF = '{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"a": "\\ud800"}, "value": [1, "1"]}]}}'
WRONG: dict[str, tuple[Reply, str]] = {
    "nothing": ((200, {}, b""), NOT_JSON),
    "a page": ((200, {}, b"<html>welcome</html>"), NOT_JSON),
    "no text": ((200, {}, b"\xff\xfe{}"), NOT_JSON),
    "too deep": ((200, {}, DEEP), NOT_JSON),
    "a list": (reply([]), NOT_JSON),
    "no status": (reply({"data": {}}), NOT_JSON),
    "half a character": ((200, {}, HALF.encode()), NOT_JSON),
    "no data": (result(None), NO_RESULT),
    "no result": (result({"resultType": "vector"}), NO_RESULT),
    "a strange type": (result({"resultType": "tensor", "result": []}), NO_RESULT),
    "rows that are none": (result({"resultType": "vector", "result": [7]}), "no labels or no value"),
    "a row without a value": (result({"resultType": "vector", "result": [{"metric": {}}]}), "no labels or no value"),
    "a label that is a number": (
        result({"resultType": "vector", "result": [{"metric": {"a": 1}, "value": [1, "1"]}]}),
        "a label's value is not text",
    ),
    "a value that is a number": (
        result({"resultType": "vector", "result": [{"metric": {}, "value": [1, 1]}]}),
        "is no sample's value",
    ),
    "a value that is a word": (
        result({"resultType": "vector", "result": [{"metric": {}, "value": [1, "1_000"]}]}),
        "'1_000' is no sample's value",
    ),
    "a native histogram": (
        result({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]}),
        "native histograms are not supported",
    ),
    "a part": (
        reply({"status": "success", "isPartial": True, "data": {"resultType": "vector", "result": []}}),
        "the answer is partial",
    ),
    "who are you": ((401, {}, b"no"), "HTTP status 401 Unauthorized"),
    "a proxy's error": ((502, {}, b"<html>"), "HTTP status 502 Bad Gateway"),
    "an error without words": (reply({"status": "error"}, 500), "HTTP status 500"),
    "an error that says it went well": (reply({"status": "success", "data": {}}, 500), "HTTP status 500"),
    "another place": ((302, {"Location": "http://elsewhere/"}, b""), "redirects to http://elsewhere/"),
    "another place without a name": ((301, {}, b""), "redirects to nowhere"),
    "strange compression": ((200, {"Content-Encoding": "br"}, b"{}"), "compressed in a way that was not asked for"),
    "broken compression": ((200, {"Content-Encoding": "gzip"}, b"{}"), "error"),
    "less than it says": ((200, {"Content-Length": "100"}, b"{}"), ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reply_is_a_reason_and_never_an_exception(
    server: Server, ask: Callable[..., Answer], name: str
) -> None:
    wrong, words = WRONG[name]
    server.reply = lambda _: wrong
    answer = ask(timeout=2.0)
    assert answer.error is not None
    assert answer.error.startswith(f"{server.url}: ")
    assert words in answer.error
    assert answer.truth({"a"}) is Truth.UNKNOWN


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_a_huge_answer_is_refused_before_it_is_held(
    server: Server, ask: Callable[..., Answer], headers: dict[str, str]
) -> None:
    body = bomb(50 << 20) if headers else b"x" * (2 << 20)
    server.reply = lambda _: (200, headers, body)
    assert ask(max_bytes=1 << 20).error == f"{server.url}: more than {1 << 20} bytes"


def test_values_that_are_no_finite_numbers_arrive_as_they_are(server: Server, ask: Callable[..., Answer]) -> None:
    special = vector(("a", "NaN"), ("b", "+Inf"), ("c", "-Inf"), ("d", "1e-05"))
    server.reply = lambda form: vector(("a", AT)) if "timestamp" in form["query"] else special
    values = [sample.value for sample in ask(Query("x")).samples]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 1e-05]


@pytest.mark.parametrize("time", ["NaN", "+Inf", "1e300"])
def test_a_time_that_is_none_is_no_fresh_sample(server: Server, ask: Callable[..., Answer], time: str) -> None:
    server.reply = lambda _: vector(("a", time))
    assert ask(Query("x")).missing({"a"}) == ("no fresh sample of x",)


def test_a_user_in_the_address_is_who_asks_and_is_not_shown(server: Server, ask: Callable[..., Answer]) -> None:
    ask(url=f"http://me:p%40ss@127.0.0.1:{server.port}/prometheus/")
    assert base64.b64decode(server.headers[0]["Authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert set(server.paths) == {"/prometheus/api/v1/query"}
    assert PrometheusEvaluator("http://me:secret@h:1/x/", fresh=1.0).address == "http://h:1/x"


def test_a_token_is_read_anew_for_every_round(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    evaluator = PrometheusEvaluator(server.url, fresh=45.0, token_file=token, headers={"X-Scope-OrgID": "team"})
    (missing,) = evaluator.answer([UP], AT)
    assert missing.error == f"{server.url}: the token file {token}: No such file or directory"
    assert not server.asked
    for text, words in (
        ("", "holds no token"),
        ("one\ntwo", "a token is one line"),
        ("schlüssel", "a token is one line"),
    ):
        token.write_text(text)
        (wrong,) = evaluator.answer([UP], AT)
        assert wrong.error is not None
        assert words in wrong.error
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        assert evaluator.answer([UP], AT)[0].error is None
        assert server.headers[-1]["Authorization"] == f"Bearer {text}"
    assert server.headers[-1]["X-Scope-OrgID"] == "team"
    evaluator.close()


def test_a_proxy_of_the_environment_is_taken_only_when_asked(
    server: Server, ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    elsewhere = "http://192.0.2.1:9"
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(url=elsewhere, environment_proxy=True).error is None
    assert server.paths[0].startswith(elsewhere)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ask().error is None


def test_what_several_rules_share_is_asked_once(server: Server) -> None:
    evaluator = PrometheusEvaluator(server.url, fresh=45.0)
    exprs = ("avg_over_time(x[5m]) > 1", "avg_over_time(x[5m]) > 2", "max_over_time(x[5m]) > 2", "up == 0", "up == 0")
    evaluator.answer([Query(expr) for expr in exprs], AT)
    evaluator.close()
    assert len(server.queries()) == len(set(server.queries())) == 4 + 2 + 1


def test_nothing_is_asked_of_selectors_that_the_expression_can_do_without(
    server: Server, ask: Callable[..., Answer]
) -> None:
    server.reply = lambda _: vector()
    assert ask(Query("absent(up)")).fleet_truth() is Truth.FALSE
    assert server.queries() == ["absent(up)"]


def test_without_a_lookback_of_ours_a_selector_without_a_name_is_unknown(
    server: Server, ask: Callable[..., Answer]
) -> None:
    def knows(form: dict[str, str]) -> Reply:
        if form.get("lookback_delta") == "none":
            return reply({"status": "error", "error": "cannot parse"}, 400)
        return vector(("a", 1))

    query = Query("{job='x'} > 0")
    assert f"{server.url} does not know lookback_delta" in str(ask(query).error)
    server.reply = knows
    assert ask(query).truth({"a"}) is Truth.TRUE


def test_a_range_that_is_short_says_how_far_its_samples_reach(server: Server, ask: Callable[..., Answer]) -> None:
    def young(form: dict[str, str]) -> Reply:
        match form["query"]:
            case query if query.startswith("min_over_time"):
                return vector(("a", AT - 125), ("b", AT - 300))
            case query if query.startswith("group"):
                return vector(("b", 1))
            case _:
                return vector(("a", AT - 5), ("b", AT - 5))

    server.reply = young
    answer = ask(Query("avg_over_time(x[10m]) > 1"))
    assert answer.missing({"a"}) == ("x[10m] needs 600s of samples, has 125s",)
    assert answer.truth({"b"}) is Truth.TRUE


def test_what_a_server_is_it_says_itself(server: Server) -> None:
    evaluator = PrometheusEvaluator(server.url, fresh=45.0)
    assert evaluator.abilities() == Abilities("a server like Prometheus", "of unknown version", lookback=False)
    evaluator.close()
    server.pages["/api/v1/status/buildinfo"] = result(
        {"version": "2.53.0", "revision": "abc", "application": "Grafana Mimir"}
    )
    evaluator = PrometheusEvaluator(server.url, fresh=45.0)
    assert evaluator.abilities() == Abilities("Grafana Mimir", "2.53.0", lookback=False)
    evaluator.close()


def test_what_is_no_query_api_has_no_abilities(server: Server) -> None:
    server.reply = lambda _: (404, {}, b"not here")
    evaluator = PrometheusEvaluator(server.url, fresh=45.0)
    assert evaluator.abilities() == Failure(f"{server.url}: HTTP status 404 Not Found")
    evaluator.close()


def test_many_threads_may_ask_at_once(server: Server) -> None:
    evaluator = PrometheusEvaluator(server.url, fresh=45.0)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.extend(evaluator.answer([UP], AT))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    evaluator.close()
    assert [answer.truth({"a"}) for answer in answers] == [Truth.TRUE] * 8


@pytest.mark.parametrize("url", ["", "127.0.0.1:9090", "ftp://h", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        PrometheusEvaluator(url, fresh=1.0)
