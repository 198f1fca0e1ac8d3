from __future__ import annotations

import pytest

from engine.executor.events import Playback
from engine.executor.running import judge
from engine.model.execution import ExecutionState


def result(kind: str, **res: object) -> dict[str, object]:
    return {
        "event": kind,
        "event_data": {"host": "h", "task": "t", "task_action": "command", "duration": 0.12345, "res": res},
    }


def test_only_a_few_fields_are_kept() -> None:
    told = Playback().read(result("runner_on_ok", msg="said", stdout="a lot", changed=True, rc=0, invocation={"x": 1}))
    data = {"action": "command", "duration": 0.123, "rc": 0}
    assert told == {"kind": "changed", "host": "h", "task": "t", "text": "said", "data": data}


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        (result("runner_on_ok", msg={"password": "x", "n": 1}), "ok", '{"password": "********", "n": 1}'),
        (result("runner_on_ok", censored="…"), "ok", "hidden: no_log"),
        (result("runner_on_failed", msg="m", stderr="e"), "failed", "m\ne"),
        (result("runner_on_failed", msg="MODULE FAILURE", module_stdout="trace"), "failed", "MODULE FAILURE\ntrace"),
        (result("runner_on_failed", results=[{"failed": True, "msg": "one"}, {"msg": "two"}]), "failed", "one"),
        (result("runner_on_unreachable", msg="refused"), "unreachable", "refused"),
        (
            result("runner_on_skipped", skip_reason="Conditional result was False"),
            "skipped",
            "Conditional result was False",
        ),
        (result("runner_on_ok", changed=True, diff=[{"prepared": "+ a"}]), "changed", "+ a"),
        (
            result("runner_on_ok", changed=True, diff={"before": "a\n", "after": "b\n", "after_header": "f"}),
            "changed",
            "@@ f\n-a\n+b",
        ),
        ({"event": "runner_on_failed", "event_data": {"res": {}}}, "failed", "its result was too large to be read"),
        ({"event": "warning", "stdout": "[WARNING]: w"}, "message", "[WARNING]: w"),
    ],
)
def test_results_say_what_a_person_wants_to_read(event: dict[str, object], kind: str, text: str) -> None:
    told = Playback().read(event)
    assert told is not None
    assert (told["kind"], told["text"]) == (kind, text)


@pytest.mark.parametrize("name", ["runner_on_start", "playbook_on_start", "runner_item_on_ok", "EOF", "", "verbose"])
def test_the_rest_is_not_told(name: str) -> None:
    assert Playback().read({"event": name, "event_data": None, "stdout": ""}) is None


def test_a_long_text_is_cut_between_lines_only() -> None:
    secret = "one-secret-line-that-must-not-be-halved"
    told = Playback().read(result("runner_on_failed", stderr="\n".join([secret] * 10_000)))
    assert told is not None
    assert set(told["text"].splitlines()) == {secret, "… 399999 characters in all …"}
    told = Playback().read(result("runner_on_failed", stderr=secret * 10_000))
    assert told is not None
    assert secret[:4] not in told["text"]


def stats(failures: object = None, dark: object = None, processed: object = None) -> dict[str, object]:
    return {"failures": failures or {}, "dark": dark or {}, "processed": processed or {}}


@pytest.mark.parametrize(
    ("code", "figures", "unmatched", "complaints", "state", "message"),
    [
        (0, stats(processed={"a": 1}), [], "", "successful", ""),
        (2, stats({"a": 1}, processed={"a": 1}), [], "", "failed", "failed on a"),
        (0, stats({"a": 1}, processed={"a": 1}), [], "", "failed", "failed on a"),
        (4, stats(None, {"b": 1, "a": 1}, {"a": 1}), [], "", "failed", "unreachable: a, b"),
        (2, stats({"c": 1}, {"a": 1}, {"a": 1}), [], "", "failed", "failed on c; unreachable: a"),
        (0, stats(), [], "", "failed", "no host matched"),
        (0, stats(processed={"a": 1}), ["second"], "", "failed", "no host matched the play 'second'"),
        (4, None, [], "no module x", "failed", "no module x"),
        (4, None, [], "", "failed", "ansible-playbook ended with 4 before it ran anything"),
        (250, stats(processed={"a": 1}), [], "", "failed", "ansible-playbook ended with 250 though no task failed"),
    ],
)
def test_the_statistics_say_how_it_ended(code, figures, unmatched, complaints, state, message) -> None:
    ending = judge({"rc": code, "stats": figures, "unmatched": unmatched, "complaints": complaints})
    assert (ending.state, ending.message) == (state, message)


def test_a_worker_that_died_is_a_failure() -> None:
    assert judge(None).state is ExecutionState.FAILED
