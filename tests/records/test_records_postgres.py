"""What is particular to a record in a PostgreSQL database: who leads, servers that go away, databases that were restored."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from engine.records import opening
from engine.records.errors import RecordError, RecordUnavailableError
from engine.records.history import History
from engine.records.schema import VERSION_TABLE
from engine.records.store import Record
from engine.records.term import Led, Term
from tests.lab_tools.postgres_server import PostgresServer
from tests.records.nouns import NOW, change, entry, event, execution, incident

pytestmark = pytest.mark.lab


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url()


@pytest.fixture
def fragile() -> Iterator[PostgresServer]:
    """A server of the test's own, which may be stopped."""
    from tests.lab_tools import postgres_server

    if reason := postgres_server.missing():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()


def database_of(url: str) -> str:
    return str(make_url(url).database)


def test_several_that_begin_a_record_at_once_begin_one(url: str) -> None:
    start, seen = threading.Barrier(4, timeout=20), []

    def begin() -> None:
        start.wait()
        with Record(url) as record, record.reading() as connection:
            seen.append(connection.exec_driver_sql("SELECT record_id FROM meta").scalar_one())
            assert record.standing(NOW).pauses == ()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_of_rivals_that_plan_from_one_version_exactly_one_wins(url: str) -> None:
    Record(url).close()
    start, won = threading.Barrier(4, timeout=20), []

    def rival(name: str) -> None:
        with Record(url) as record:
            for turn in range(10):
                version = record.standing(NOW).version
                start.wait()
                plan = change(version, execution=execution(f"{name}{turn}", f"web{turn}"), entries=(entry(name),))
                if record.commit(plan):
                    won.append((turn, name))
                start.wait()

    rivals = [threading.Thread(target=rival, args=(name,)) for name in "abcd"]
    for each in rivals:
        each.start()
    for each in rivals:
        each.join()
    assert [turn for turn, _ in won] == list(range(10))
    with Record(url) as record:
        assert [one.entry.sentence for one in History(record).entries()] == [name for _, name in won]
        assert History(record).verify_chain() == 10


def test_a_reader_sees_the_record_and_cannot_write(url: str) -> None:
    with Record(url) as record, Record(url, read_only=True) as reader:
        assert record.commit(change(0, incident=incident()))
        assert reader.standing(NOW).incidents == (incident(),)
        with pytest.raises(RecordError, match="opened for reading"):
            reader.commit(change(1))


def test_a_reader_does_not_begin_a_record(url: str) -> None:
    with pytest.raises(RecordError, match="the record has schema none"):
        Record(url, read_only=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "postgresql://mendbook@/nowhere?host={folder}",
            r"there is no connection to its server .*nowhere.* does not exist.*createdb",
        ),
        ("postgres://eve@/postgres?host={folder}", r"there is no connection to its server .*eve.* does not exist"),
        ("postgresql://mendbook:secret@127.0.0.1:1/x", "there is no connection to its server"),
    ],
)
def test_a_database_that_is_not_there_is_an_error_with_a_fix_and_without_the_password(
    postgres: PostgresServer, name: str, message: str
) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        Record(name.format(folder=postgres.folder))
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(RecordError, match=r"its encoding is LATIN1.*createdb --encoding UTF8"):
        Record(postgres.address("latin"))


def test_the_second_engine_is_refused_and_told_who_has_it(url: str) -> None:
    with Record(url) as one, Record(url) as other:
        first, second = Term(one), Term(other)
        assert first.holder() is None
        assert first.acquire()
        assert first.acquire()
        assert not second.acquire()
        assert (first.held, second.held) == (True, False)
        assert "process " in str(second.holder())
        first.release()
        assert second.holder() is None
        assert second.acquire()
        second.release()


def test_two_records_in_two_databases_are_led_by_two_engines(postgres: PostgresServer) -> None:
    with Record(postgres.url()) as one, Record(postgres.url()) as other, Term(one) as first, Term(other) as second:
        assert first.acquire()
        assert second.acquire()
        assert first.holder() is not None
        assert first.holder() != second.holder()


def test_an_engine_that_lost_its_connection_commits_nothing_once_another_leads(
    url: str, postgres: PostgresServer
) -> None:
    with Record(url) as old, Record(url) as new, Term(old) as first, Term(new) as second:
        assert first.acquire()
        version = old.standing(NOW).version
        (keeper,) = postgres.run("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted", database_of(url))
        postgres.run(f"SELECT pg_terminate_backend({keeper[0]})")
        while not second.acquire():
            time.sleep(0.01)
        assert first.held  # it has not asked yet, and may be in the middle of a tick
        assert not old.commit(change(version, execution=execution()))
        assert new.commit(change(version, execution=execution("e2")))
        assert not first.confirm()
        with pytest.raises(RecordUnavailableError, match=r"another engine leads: process .* this one stands by"):
            Led(old, first).standing(NOW)
        second.release()
        assert Led(old, first).standing(NOW).executions == (execution("e2"),)
        assert old.commit(change(version + 1))


def test_an_engine_leads_again_when_only_its_connection_broke(url: str, postgres: PostgresServer) -> None:
    with Record(url) as record, Term(record) as term:
        assert term.acquire()
        led = Led(record, term)
        assert led.commit(change(led.standing(NOW).version, entries=(entry("before"),)))
        own = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        postgres.run(own, database_of(url))
        version = led.standing(NOW).version
        assert led.commit(change(version, entries=(entry("after"),)))
        assert History(record).verify_chain() == 2


KEEP = """
import sys
from engine.records.store import Record
from engine.records.term import Term
print(Term(Record(sys.argv[1])).acquire(), flush=True)
input()
"""


def test_a_killed_engine_leaves_the_record_free(url: str) -> None:
    with Record(url) as record:
        term = Term(record)
        with subprocess.Popen(
            [sys.executable, "-c", KEEP, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "True\n"
            assert not term.acquire()
            holder = term.holder()
            assert holder is not None
            assert holder.pid == child.pid
            child.kill()
        deadline = time.monotonic() + 10
        while not term.acquire():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        term.release()


def restored(postgres: PostgresServer, url: str) -> str:
    """Return the address of a database that was made of a dump of another one."""
    copy = postgres.url()
    tools, host = postgres.binaries, ("-h", str(postgres.folder), "-U", "mendbook")
    dump = subprocess.run(
        [str(tools / "pg_dump"), *host, "--format=custom", database_of(url)], capture_output=True, check=True
    )
    restore = [str(tools / "pg_restore"), *host, "--dbname", database_of(copy)]
    subprocess.run(restore, input=dump.stdout, check=True, capture_output=True)
    return copy


def test_a_restored_database_starts_paused_and_the_original_does_not(postgres: PostgresServer, url: str) -> None:
    with Record(url) as record:
        assert record.commit(change(0, incident=incident(), entries=(entry("x"),)))
    with Record(restored(postgres, url)) as record:
        assert [(pause.scope, pause.by) for pause in record.standing(NOW).pauses] == [("all", "mendbook")]
        assert record.standing(NOW).incidents == (incident(),)
        assert History(record).verify_chain() == 2
    with Record(url) as record:
        assert record.standing(NOW).pauses == ()


def go_back(postgres: PostgresServer, url: str, version: int) -> None:
    """Have the record stand where it stood, as after the loss of a server whose standby had not got everything."""
    for statement in (
        "DELETE FROM entries WHERE version > %d",
        "UPDATE meta SET version = %d, entries = (SELECT max(number) FROM entries)",
        "UPDATE meta SET chain = (SELECT hash FROM entries ORDER BY number DESC LIMIT 1) WHERE version = %d",
    ):
        postgres.run(statement % version, database_of(url))


def test_a_database_that_went_back_in_time_starts_paused_where_an_engine_has_noted_how_far_it_was(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    mark = tmp_path / "record.mark"
    with Record(url, mark=mark) as record:
        assert all(record.commit(change(version, entries=(entry("x"),))) for version in range(3))
    go_back(postgres, url, 2)
    with Record(url, mark=mark) as record:
        assert [pause.by for pause in record.standing(NOW).pauses] == ["mendbook"]
        assert History(record).verify_chain() == 3


def test_a_database_that_goes_back_in_time_below_a_running_engine_is_paused(postgres: PostgresServer, url: str) -> None:
    with Record(url) as record:
        assert all(record.commit(change(version, entries=(entry("x"),))) for version in range(3))
        assert record.standing(NOW).version == 3
        go_back(postgres, url, 2)
        assert [pause.by for pause in record.standing(NOW).pauses] == ["mendbook"]
        assert record.standing(NOW).version == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "crash"])
def test_a_server_that_is_restarted_in_the_middle_loses_and_doubles_nothing(
    fragile: PostgresServer, number: signal.Signals
) -> None:
    """Commits go on by themselves; what was acknowledged is there, what was not is there once or not at all."""
    url, over, acknowledged, refused = fragile.url(), threading.Event(), [], []
    Record(url).close()

    def work() -> None:
        with Record(url) as record, Term(record) as term:
            led = Led(record, term)
            for turn in itertools.count():
                try:
                    version = led.standing(NOW).version
                    if led.commit(change(version, entries=(entry(f"{turn}"),))):
                        acknowledged.append(f"{turn}")
                    record.events("e1", [event(turn + 1)])
                except RecordUnavailableError as error:
                    refused.append(str(error))
                    over.wait(0.01)
                if over.is_set():
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            before = len(acknowledged)
            wait_until(lambda before=before: len(acknowledged) > before + 5)
            fragile.stop(number)
            failed = len(refused)
            wait_until(lambda failed=failed: len(refused) > failed)
            fragile.start()
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 5)
    finally:
        over.set()
        thread.join()
    assert all("there is no connection to its server" in each for each in refused)
    with Record(url) as record:
        said = [line.entry.sentence for line in History(record).entries(limit=100_000)]
        assert History(record).verify_chain() == len(said)
        assert len(said) == len(set(said))
        assert set(acknowledged) <= set(said)
        assert len(set(said) - set(acknowledged)) <= 3  # a commit whose answer was lost with the server
        assert record.standing(NOW).pauses == ()


def wait_until(holds: object, patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def columns(postgres: PostgresServer, url: str) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return every column with its type, and every index with what it says, as PostgreSQL knows them."""
    asked = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    found = {(row[0], row[1]): tuple(row[2:]) for row in postgres.run(asked, database_of(url))}
    indexes = postgres.run(
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'", database_of(url)
    )
    found.update({(row[0], row[1]): (row[2],) for row in indexes})
    return {name: each for name, each in found.items() if name[0] != VERSION_TABLE}  # Alembic's own


def test_the_steps_of_alembic_lead_to_the_schema_that_a_new_record_has(postgres: PostgresServer, url: str) -> None:
    Record(url).close()
    stepped = postgres.url()
    database = opening.connect(opening.address(stepped), read_only=False)
    with database.writers.begin() as connection:
        opening.migrate(connection)
        opening.born(connection)
    database.readers.dispose()
    made = columns(postgres, url)
    assert len(made) > 100
    assert columns(postgres, stepped) == made
    with Record(stepped) as record:
        assert record.commit(change(1, incident=incident()))  # 0 was counted on: it does not know itself yet
