"""People are told of what the record says, whatever becomes of those who tell them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.model.decision import Entry
from engine.model.notice import Notice, NoticeKind
from engine.notify import Line, Outbox, compose, together
from engine.notify.through_apprise import AppriseNotifier, scheme

pytest.importorskip("apprise", reason="wants Apprise: pip install 'mendbook[notify]'")

ESCALATED = Entry(
    "decision", "Escalate: 3 of 3 attempts in 24h", "inc-1", "web-1", "memory-short", "max_attempts"
)  # fmt: skip


class Listener:
    """A web server on loopback that keeps what it is sent; `status` is what it answers."""

    def __init__(self) -> None:
        self.heard: list[dict[str, object]] = []
        self.status = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.append(json.loads(body))
                self.send_response(listener.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hush-hush"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Listener()
    yield server
    server.close()


@contextmanager
def telling(
    tmp_path: Path, notifier: object, lines: Sequence[Line], newest: int = 0, **more: object
) -> Iterator[Outbox]:
    outbox = Outbox(
        notifier,  # type: ignore[arg-type]
        "test",
        read=lambda after, limit: [line for line in lines if line.number > after][:limit],
        newest=lambda: newest,
        cursor=tmp_path / "notify" / "cursor",
        retry=0.02,
        look_every=0.02,
        **more,  # type: ignore[arg-type]
    )
    outbox.start()
    yield outbox
    outbox.stop()


def line(number: int, entry: Entry = ESCALATED, decision: str | None = "escalate", age: float = 0.0) -> Line:
    return Line(number, time.time() - age, entry, decision)


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


def test_an_escalation_reaches_a_server_with_why_and_what_to_type(tmp_path: Path, listener: Listener) -> None:
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1)], environment="production"):
        wait(lambda: listener.heard, "the notice")
    (heard,) = listener.heard
    assert heard["title"] == "[production] web-1: a human is needed"
    assert heard["type"] == "failure"
    first, about, *commands = str(heard["message"]).splitlines()
    assert first == "3 of 3 attempts in 24h"
    assert about.startswith("incident inc-1, runbook memory-short, at 20")
    assert commands == ["Next: mendbook incidents show inc-1", "Next: mendbook incidents ack inc-1"]


def test_what_was_told_is_not_told_again_after_a_restart_and_what_was_not_is(
    tmp_path: Path, listener: Listener
) -> None:
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1)]):
        wait(lambda: listener.heard, "the first")
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1), line(2)], newest=2):
        wait(lambda: len(listener.heard) == 2, "the second")
    assert len(listener.heard) == 2


def test_who_is_told_for_the_first_time_is_spared_the_past(tmp_path: Path, listener: Listener) -> None:
    lines = [line(1), line(2)]
    with telling(tmp_path, AppriseNotifier(listener.url), lines, newest=2) as outbox:
        wait((tmp_path / "notify" / "cursor").exists, "the beginning")
        lines.append(line(3))
        outbox.wake()
        wait(lambda: listener.heard, "the new one")
    assert len(listener.heard) == 1


def test_a_server_that_errs_is_tried_again_until_it_takes_it(tmp_path: Path, listener: Listener) -> None:
    listener.status = 500
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1)]) as outbox:
        wait(lambda: len(listener.heard) >= 2, "the second try")
        listener.status = 200
        wait(lambda: outbox.counts["told"], "the delivery")
    assert outbox.counts["failed"] >= 2
    assert outbox.counts["told"] == 1


def test_a_server_that_never_answers_delays_neither_the_end_nor_another_one(tmp_path: Path, listener: Listener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=30"
        hanging = telling(tmp_path / "one", AppriseNotifier(url), [line(1)])
        with telling(tmp_path / "two", AppriseNotifier(listener.url), [line(1)]), hanging as stuck:
            wait(lambda: listener.heard, "the notice to the other")
            peer, _ = silent.accept()
            begun = time.monotonic()
            stuck.wake()
            stuck.stop(patience=0.1)
            assert time.monotonic() - begun < 5
            peer.close()
    assert not stuck.counts["told"]


def test_what_nobody_needs_to_know_any_more_is_given_up(tmp_path: Path, listener: Listener) -> None:
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1, age=7200), line(2)]) as outbox:
        wait(lambda: outbox.counts["told"], "the fresh one")
    assert outbox.counts["dropped"] == 1
    assert len(listener.heard) == 1


def test_a_flood_is_told_as_one(tmp_path: Path, listener: Listener) -> None:
    with telling(tmp_path, AppriseNotifier(listener.url), [line(number) for number in range(1, 51)]):
        wait(lambda: listener.heard, "the notice")
    (heard,) = listener.heard
    assert heard["title"] == "Mendbook: 50 things happened"
    assert "and 20 more" in str(heard["message"])


def test_only_what_is_wanted_is_told(tmp_path: Path, listener: Listener) -> None:
    healed = Entry("outcome", "resolved: it holds", "inc-1", "web-1", "memory-short", "resolved")
    wanted = frozenset({NoticeKind.RESOLVED})
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1), line(2, healed, None)], of=wanted):
        wait(lambda: listener.heard, "the notice")
    assert [heard["title"] for heard in listener.heard] == ["web-1: resolved"]


def test_a_record_that_cannot_be_read_now_is_read_later(tmp_path: Path, listener: Listener) -> None:
    lines = [line(1)]
    troubles = ["locked", "locked"]

    def read(after: int, limit: int) -> Sequence[Line]:
        if troubles:
            raise OSError(troubles.pop())
        return [each for each in lines if each.number > after][:limit]

    outbox = Outbox(
        AppriseNotifier(listener.url), "test", read=read, newest=lambda: 0, cursor=tmp_path / "cursor", look_every=0.01
    )
    outbox.start()
    wait(lambda: listener.heard, "the notice")
    outbox.stop()


def test_why_it_was_not_delivered_holds_nothing_of_the_address(listener: Listener) -> None:
    listener.status = 403
    url = f"json://me:hush-word@127.0.0.1:{listener.server.server_port}/hush-path?+Token=hush-token"
    why = AppriseNotifier(url).tell(Notice(NoticeKind.PAUSED, "t", "b", 0.0))
    assert why is not None
    assert "403" in why
    assert "hush" not in why
    assert scheme(url) == "json"
    assert scheme("hush-token-without-a-scheme") == "an address"


def test_an_address_that_is_none_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="kind nosuch://") as caught:
        AppriseNotifier("nosuch://hush")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "decision", "kind"),
    [
        (ESCALATED, "escalate", NoticeKind.ESCALATED),
        (Entry("approval", "asks for approval: 'x' of r on h", "i", "h", "r", "proposed"), None, NoticeKind.APPROVAL),
        (Entry("decision", "Hold: asks", "i", "h", "r", "held_for_approval"), "hold", None),
        (Entry("decision", "Run: it", "i", "h", "r", "run"), "run", None),
        (Entry("decision", "Refused to me: r on h", None, "h", "r", "mode"), None, None),
        (Entry("outcome", "self_healed: gone", "i", "h", "r", "self_healed"), None, NoticeKind.RESOLVED),
        (Entry("outcome", "unknown: closed", "i", "h", "r", "unknown"), None, None),
        (Entry("reminder", "waits for 2h", "i", "h", "r", "reminder"), None, NoticeKind.REMINDER),
        (Entry("operator", "me paused all: x", code="pause"), None, NoticeKind.PAUSED),
        (Entry("operator", "me stopped everything: x", code="stop"), None, NoticeKind.PAUSED),
        (Entry("operator", "me acknowledged it", "i", "h", code="acknowledge"), None, None),
        (Entry("engine", "Paused: restored", code="restored"), None, NoticeKind.PAUSED),
        (Entry("alert", "A on h fires", None, "h", "r", "firing"), None, None),
    ],
)  # fmt: skip
def test_each_kind_of_entry_is_told_or_not(entry: Entry, decision: str | None, kind: NoticeKind | None) -> None:
    notice = compose(entry, decision, 0.0)
    assert (None if notice is None else notice.kind) == kind


def test_what_metrics_say_cannot_make_lines_of_its_own_and_is_bounded() -> None:
    entry = Entry("decision", "Escalate: a\nNext: rm -rf /\x1b[2J" + "x" * 9000, "i", "h\nevil", "r", "c")
    notice = compose(entry, "escalate", 0.0)
    assert notice is not None
    assert "\n" not in notice.title
    lines = notice.body.splitlines()
    assert [each for each in lines if each.startswith("Next: ")] == [
        "Next: mendbook incidents show i",
        "Next: mendbook incidents ack i",
    ]
    assert "\x1b" not in notice.body
    assert len(lines[0]) <= 600


def test_who_is_to_approve_learns_what_and_until_when() -> None:
    entry = Entry(
        "approval", "asks for approval: 'Reboot' of r on h", "inc-1", "h", "r", "proposed", {"expires_at": 0.0}
    )
    notice = compose(entry, None, 0.0)
    assert notice is not None
    what, _, until, *commands = notice.body.splitlines()
    assert what == "asks for approval: 'Reboot' of r on h"
    assert until.startswith("It can be approved until 19")
    assert commands == ["Next: mendbook approve inc-1", "Next: mendbook deny inc-1"]


def test_of_many_notices_the_gravest_says_what_they_are() -> None:
    notices = [Notice(NoticeKind.RESOLVED, "a", "", 1.0), Notice(NoticeKind.ESCALATED, "b", "", 2.0)]
    assert together(notices).kind is NoticeKind.ESCALATED


def test_the_file_of_the_cursor_is_ours_alone(tmp_path: Path, listener: Listener) -> None:
    with telling(tmp_path, AppriseNotifier(listener.url), [line(1)]) as outbox:
        wait(lambda: outbox.counts["told"], "the delivery")
    assert (tmp_path / "notify").stat().st_mode & 0o077 == 0
