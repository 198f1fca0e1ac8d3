"""PostgreSQL's remedies on real nodes, while transfers go on: nothing that was acknowledged is lost, and nothing is done twice."""

from __future__ import annotations

import shlex
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from lab_nodes import Node, nodes, wait_until
from playbook_run import Run, play

pytestmark = pytest.mark.lab

DATA = "/srv/postgresql/15/main"
HAMMER = """
import sys, time, uuid, random, psycopg2
hosts, seconds = sys.argv[1], float(sys.argv[2])
end, connection = time.monotonic() + seconds, None
while time.monotonic() < end:
    try:
        if connection is None:
            connection = psycopg2.connect(
                host=hosts, dbname="ledger", user="replicator", passfile="/var/lib/postgresql/.pgpass",
                target_session_attrs="read-write", connect_timeout=2, options="-c statement_timeout=8s")
        name, (one, other) = str(uuid.uuid4()), random.sample(range(1, 10001), 2)
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO transfers VALUES (%s, %s, %s, 1)", (name, one, other))
            cursor.execute("UPDATE accounts SET balance = balance - 1 WHERE id = %s", (one,))
            cursor.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (other,))
        print(name, flush=True)
    except psycopg2.Error:
        if connection is not None:
            connection.close()
        connection = None
        time.sleep(0.2)
    time.sleep(0.02)
"""


@dataclass
class Group:
    """The database nodes, who of them is what, and transfers that go on from the archive's node."""

    members: tuple[Node, ...]
    archive: Node
    acknowledged: set[str] = field(default_factory=set)

    def primary(self) -> Node:
        (one,) = [each for each in self.members if part(each) == "f"]
        return one

    def replica(self) -> Node:
        (one,) = [each for each in self.members if part(each) == "t"]
        return one

    def begin(self, seconds: int = 400) -> None:
        """Let transfers go on from another node, whatever happens."""
        hosts = ",".join(each.sh("hostname -I | cut -d' ' -f1") for each in self.members)
        ask(self.primary(), "GRANT SELECT, INSERT, UPDATE ON accounts, transfers TO replicator")
        self.archive.sh(
            f"cat >/root/transfers.py <<'END'\n{HAMMER}\nEND\n"
            f"systemctl stop transfers.service 2>/dev/null; rm -f /root/acknowledged; systemd-run --quiet --collect --unit transfers "
            f"-p StandardOutput=append:/root/acknowledged -p StandardError=journal -p Restart=no python3 /root/transfers.py {hosts} {seconds}"
        )
        self.more(10)

    def told(self) -> set[str]:
        return set(self.archive.sh("cat /root/acknowledged 2>/dev/null", check=False).split())

    def more(self, count: int) -> None:
        """Wait until so many more transfers were acknowledged."""
        before = len(self.told())
        wait_until(lambda: len(self.told()) >= before + count, 120)

    def end(self) -> None:
        self.archive.sh("systemctl stop transfers.service 2>/dev/null", check=False)

    def lost(self) -> set[str]:
        """Return what was acknowledged and is not there."""
        self.end()
        return self.told() - set(ask(self.primary(), "SELECT id FROM transfers").split())

    def total(self) -> str:
        return ask(self.primary(), "SELECT sum(balance) FROM accounts")

    def whole(self) -> bool:
        """Whether one takes writes, another follows, and the archive receives."""
        parts = sorted(part(each) for each in self.members)
        return parts == ["f", "t"] and self.followers() == {"archive", self.replica().name}

    def followers(self) -> set[str]:
        told = ask(self.primary(), "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
        return set(told.split()) - {"backup"}

    def fresh_backup(self) -> None:
        self.archive.sh("runuser -u postgres -- python3 /usr/local/lib/mendbook/postgres_archive.py backup")


def ask(node: Node, sql: str) -> str:
    """Return what a query says on a node, in the ledger's database."""
    return node.sh(f"runuser -u postgres -- psql -XAtqd ledger -c {shlex.quote(sql)}")


def part(node: Node) -> str:
    """Return `t` for a replica, `f` for a primary, nothing for a server that does not answer."""
    return node.sh("runuser -u postgres -- psql -XAtqd postgres -c 'SELECT pg_is_in_recovery()'", check=False)


def thrice(node: Node, name: str, **variables: object) -> Run:
    """Run a playbook with --check, really, and again for the same attempt; return the real run."""
    checked, done, again = node.run_thrice(name, **variables)
    assert (checked.failed, done.failed, again.failed) == (0, 0, 0), checked.output + done.output + again.output
    assert done.changed > 0
    assert again.changed == 0, again.output
    assert "cannot tell" in checked.output or "not_known_beforehand" in checked.output
    return done


@pytest.fixture
def group() -> Iterator[Group]:
    """A group that is whole, with transfers going on; it is whole again afterwards or the test fails."""
    *members, archive = nodes("db1", "db2", "standby")
    one = Group(tuple(members), archive)
    wait_until(one.whole, 60)
    one.begin()
    yield one
    one.end()


def mend(group: Group) -> None:
    """Have the other member follow, as the next step of each remedy does."""
    for each in group.members:
        assert each.run("postgres_rejoin").failed == 0
    wait_until(group.whole, 60)


def test_a_lost_data_directory_is_restored_with_all_that_was_acknowledged(group: Group) -> None:
    node = group.primary()
    assert node.run("postgres_restore").changed == 0, "nothing was lost yet"
    node.sh(f"rm -rf {DATA}")
    done = thrice(node, "postgres_restore")
    assert "the data directory" in done.output
    group.more(10)
    mend(group)
    assert group.lost() == set()
    assert group.total() == "10000000"


def test_a_damaged_table_is_restored_and_the_old_data_is_kept(group: Group) -> None:
    node = group.primary()
    # A table that nobody writes to: the server itself would put a page of a busy one right.
    ask(node, "CREATE TABLE IF NOT EXISTS still AS SELECT generate_series(1, 10000)")
    ask(node, "VACUUM FREEZE still")
    path = ask(node, "CHECKPOINT; SELECT pg_relation_filepath('still')")
    node.sh(f"printf 'damage' | dd of={DATA}/{path} bs=1 seek=$((8192 * 30 + 4000)) conv=notrunc,fsync status=none")
    done = thrice(node, "postgres_restore")
    assert "pages of still in database ledger fail their checksums" in done.output
    newest = node.sh("ls -td /srv/postgresql/15/aside/*/ | head -1")
    assert node.sh(f"dd if={newest}{path} bs=1 skip=$((8192 * 30 + 4000)) count=6 status=none") == "damage"
    node.sh(f"rm -rf {newest}")
    group.more(10)
    mend(group)
    assert group.lost() == set()
    assert group.total() == "10000000"


def test_a_dropped_table_comes_back_as_it_was_the_moment_before(group: Group) -> None:
    node = group.primary()
    group.end()
    ask(node, "DROP TABLE transfers")
    unknown = node.run("postgres_restore", postgres_restore_table="public.no_such_table")
    assert unknown.failed == 1
    assert "the moment before it is not known, and nothing was touched" in unknown.output
    thrice(node, "postgres_restore", postgres_restore_table="public.transfers")
    mend(group)
    assert group.lost() == set()
    assert group.total() == "10000000"
    node.sh("rm -rf /srv/postgresql/15/aside/*")


def test_a_broken_newest_backup_is_passed_over_and_that_is_said(group: Group) -> None:
    group.fresh_backup()
    newest = group.archive.sh("ls -d /srv/postgresql/archive/backups/2*Z | tail -1")
    group.archive.sh(f"printf x | dd of={newest}/base/1/1259 bs=1 seek=100 conv=notrunc status=none")
    node = group.primary()
    node.sh(f"rm -rf {DATA}")
    done = node.run("postgres_restore", mendbook_attempt=str(uuid.uuid4()))
    assert done.failed == 0, done.output
    assert f"{newest.rsplit('/', 1)[1]}: pg_verifybackup" in done.output
    mend(group)
    assert group.lost() == set()
    group.archive.sh(f"rm -rf {newest} {newest}.json")


def test_a_server_that_is_merely_stopped_is_restarted_and_never_restored(group: Group) -> None:
    node = group.primary()
    node.sh("systemctl stop postgresql@15-main")
    refused = node.run("postgres_restore")
    assert refused.failed == 1
    assert "it is there, and its server is stopped: start it" in refused.output
    _, done, again = node.run_thrice("postgres_restart")
    assert (done.failed, again.failed, again.changed) == (0, 0, 0)
    group.more(10)
    wait_until(group.whole, 60)
    assert group.lost() == set()


def test_damaged_data_is_not_restarted(group: Group) -> None:
    node = group.primary()
    node.sh(f"systemctl stop postgresql@15-main; mv {DATA} {DATA}.away")
    refused = node.run("postgres_restart")
    node.sh(f"mv {DATA}.away {DATA}; systemctl start postgresql@15-main")
    assert refused.failed == 1
    assert "A restart does not mend that" in refused.output


def test_a_replica_whose_data_is_gone_copies_the_primary(group: Group) -> None:
    node = group.replica()
    node.sh(f"systemctl kill -s KILL postgresql@15-main; rm -rf {DATA}")
    _, done, again = node.run_thrice("postgres_rejoin")
    assert (done.failed, again.failed, again.changed) == (0, 0, 0), done.output + again.output
    wait_until(group.whole, 60)
    assert group.lost() == set()


def test_a_replica_takes_the_place_of_a_primary_without_power_and_that_one_comes_back_as_a_replica(
    group: Group,
) -> None:
    old, new = group.primary(), group.replica()

    def promote(*arguments: str) -> Run:
        known = {"postgres_promote_instead_of": old.name}
        return play("postgres_promote", old.inventory, "--limit", new.name, *arguments, variables=known)

    refused = promote()
    assert refused.failed == 1
    assert f"{old.name} is on and must be 'off'" in refused.output
    assert old.run("node_fence").failed == 0
    began = time.monotonic()
    assert "cannot tell" in promote("--check").output
    done = promote()
    assert done.failed == 0, done.output
    group.more(10)
    assert time.monotonic() - began < 180
    assert promote().changed == 0
    assert old.run("node_power_on").failed == 0
    assert old.run("node_return").failed == 0
    wait_until(lambda: "takes writes now" in old.sh("journalctl -b -u postgresql@15-main -o cat"), 60)
    assert part(old) == "", "an old primary must not serve beside the new one"
    _, back, again = old.run_thrice("postgres_rejoin")
    assert (back.failed, again.failed, again.changed) == (0, 0, 0), back.output
    wait_until(group.whole, 60)
    assert group.lost() == set()
    assert group.total() == "10000000"


def test_a_spare_host_becomes_a_replica_and_the_archive_on_it_goes_on(group: Group) -> None:
    spare = group.archive
    try:
        thrice(spare, "postgres_replica_add")
        wait_until(lambda: group.followers() == {"archive", group.replica().name, spare.name}, 60)
        group.more(10)
        assert group.lost() == set()
    finally:
        spare.sh(f"systemctl disable --now postgresql@15-main; rm -rf {DATA}")
        wait_until(lambda: spare.name not in group.followers(), 30)
        ask(group.primary(), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
    wait_until(group.whole, 60)


def test_a_backup_is_taken_once_for_an_attempt_and_verifies(group: Group) -> None:
    def backups() -> list[str]:
        return group.archive.sh("ls -d /srv/postgresql/archive/backups/2*Z").split()

    before = backups()
    checked, done, again = group.archive.run_thrice("postgres_backup")
    assert (checked.failed, done.failed, again.failed) == (0, 0, 0), checked.output + done.output + again.output
    assert again.changed == 0, again.output
    newest = set(backups()) - set(before)
    assert len(newest) == 1
    group.archive.sh(f"runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_verifybackup -q {newest.pop()}")
