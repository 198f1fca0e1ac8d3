"""The ledger on real nodes: what it acknowledges is there, once, and what it cannot do it says."""

from __future__ import annotations

import concurrent.futures
import random
import socket
import uuid

import pytest

from tests.lab_services.nodes import Node, Reply, until

pytestmark = pytest.mark.lab
TOTAL = {"accounts": 10_000, "total": 10_000_000}


def transfer(node: Node, **changes: object) -> tuple[dict[str, object], Reply]:
    source, destination = random.sample(range(1, 10_001), 2)
    asked = {"id": str(uuid.uuid4()), "source": source, "destination": destination, "amount": 1} | changes
    return asked, node.ask("/transfer", body=asked)


def sql(node: Node, statement: str) -> str:
    return node.run(f'runuser -u postgres -- psql -XAtqd ledger -c "{statement}"').stdout.strip()


def primary(nodes: dict[str, Node]) -> Node:
    (found,) = [nodes[name] for name in ("db1", "db2") if sql(nodes[name], "SELECT pg_is_in_recovery()") == "f"]
    return found


def test_a_transfer_moves_its_amount_once_however_often_it_is_sent(healthy: dict[str, Node]) -> None:
    asked, first = transfer(healthy["web1"])
    assert (first.status, first.json()["repeated"]) == (200, False)
    for name in ("web1", "web2", "lb"):
        again = healthy[name].ask("/transfer", body=asked)
        assert (again.status, again.json()["repeated"]) == (200, True)
    found = healthy["web2"].ask(f"/transfer/{asked['id']}").json()
    assert {key: found[key] for key in asked} == asked
    kept = sql(primary(healthy), "SELECT id FROM transfers").split()
    assert kept.count(str(asked["id"])) == 1


def test_another_transfer_under_the_same_id_is_refused(healthy: dict[str, Node]) -> None:
    asked, _ = transfer(healthy["web1"])
    assert healthy["web2"].ask("/transfer", body=asked | {"amount": 2}).status == 409


def test_what_cannot_be_is_the_callers_error_and_moves_nothing(healthy: dict[str, Node]) -> None:
    assert transfer(healthy["web1"], amount=10**9)[1].status == 422
    assert transfer(healthy["web1"], source=20_000)[1].status == 404
    assert transfer(healthy["web1"], amount=0)[1].status == 400
    assert healthy["web1"].ask(f"/transfer/{uuid.uuid4()}").status == 404
    assert healthy["web1"].ask("/transfer/x").status == 400
    assert healthy["web1"].ask("/invariant").json().items() >= TOTAL.items()


def test_transfers_at_the_same_time_in_both_directions_all_happen_and_the_sum_stays(healthy: dict[str, Node]) -> None:
    before = healthy["web1"].ask("/invariant").json()
    pairs = [(1, 2), (2, 1), (1, 3), (3, 2)] * 15
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(
            pool.map(lambda pair: transfer(healthy["lb"], source=pair[0], destination=pair[1])[1].status, pairs)
        )
    assert replies == [200] * len(pairs)
    assert healthy["web2"].ask("/invariant").json() == TOTAL | {"transfers": before["transfers"] + len(pairs)}


def test_the_same_transfer_sent_many_times_at_once_happens_once(healthy: dict[str, Node]) -> None:
    asked, _ = transfer(healthy["web1"])
    asked["id"] = str(uuid.uuid4())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda name: healthy[name].ask("/transfer", body=asked), ["web1", "web2"] * 8))
    assert {reply.status for reply in replies} == {200}
    assert [reply.json()["repeated"] for reply in replies].count(False) == 1


def test_sessions_that_the_database_ended_while_they_were_idle_cost_no_request(healthy: dict[str, Node]) -> None:
    for _ in range(12):
        transfer(healthy["web1"])
    end = "SELECT bool_and(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE usename = 'ledger'"
    assert sql(primary(healthy), end) == "t"  # each has ended: asking one to end does not wait for that
    assert [transfer(healthy["web1"])[1].status for _ in range(12)] == [200] * 12


def test_a_missing_table_takes_the_figures_away_and_names_the_error(healthy: dict[str, Node]) -> None:
    server, web = primary(healthy), healthy["web1"]
    sql(server, "ALTER TABLE transfers RENAME TO away")
    try:
        until(lambda: web.value("ledger_scan_error", 8080, sqlstate="42P01") == 1, 10)
        assert web.value("ledger_total", 8080) is None
        assert web.value("ledger_scan_success", 8080) == 0
        failed = transfer(web)[1]
        assert (failed.status, failed.json()["sqlstate"]) == (503, "42P01")
    finally:
        sql(server, "ALTER TABLE away RENAME TO transfers")
    until(lambda: web.value("ledger_total", 8080) == 10_000_000, 10)
    assert web.value("ledger_scan_error", 8080) is None


def test_a_database_that_hangs_is_no_health_and_no_acknowledgement(healthy: dict[str, Node]) -> None:
    server = primary(healthy)
    server.run("systemctl kill -s STOP postgresql@15-main")
    try:
        asked, reply = transfer(healthy["web1"])
        assert reply.status == 503
        assert healthy["web2"].ask("/healthz").status == 503
    finally:
        server.run("systemctl kill -s CONT postgresql@15-main")
    until(lambda: healthy["web1"].ask("/transfer", body=asked).status == 200, 30)
    assert healthy["web1"].ask("/invariant").json().items() >= TOTAL.items()


def test_a_commit_that_nobody_confirmed_is_not_acknowledged_until_somebody_did(healthy: dict[str, Node]) -> None:
    server = primary(healthy)
    replica = healthy["db2" if server.name == "db1" else "db1"]
    replica.run("systemctl stop postgresql@15-main")
    healthy["standby"].run("systemctl stop postgres-archive")
    try:
        asked, reply = transfer(healthy["web1"])
        assert reply.status == 503
        assert healthy["web2"].ask("/healthz").status == 503
        assert healthy["web2"].ask(f"/transfer/{asked['id']}").status == 503
        assert healthy["web2"].ask("/transfer", body=asked).status == 503
    finally:
        replica.run("systemctl start postgresql@15-main")
        healthy["standby"].run("systemctl start postgres-archive")
    until(lambda: healthy["web1"].ask("/transfer", body=asked).status == 200, 30)
    assert healthy["web1"].ask("/invariant").json().items() >= TOTAL.items()


def test_callers_that_say_nothing_take_no_more_than_their_share(healthy: dict[str, Node]) -> None:
    web = healthy["web1"]
    before = web.value("process_open_fds", 8080)
    assert before is not None
    silent = []
    try:
        for _ in range(120):
            one = socket.create_connection((web.variables["ansible_host"], 8080), timeout=5)
            one.sendall(b"POST /transfer HTTP/1.1\r\nHost: ledger\r\nContent-Length: 50\r\n\r\n")
            silent.append(one)
        assert web.ask("/healthz").status == 200
        threads = web.value("process_threads", 8080)
        assert threads is not None
        assert threads <= 12
    finally:
        for one in silent:
            one.close()
    until(lambda: (web.value("process_open_fds", 8080) or 1000) <= before + 4, 30)


def test_callers_within_the_node_are_refused_when_too_many_wait_and_answered_again_after(
    healthy: dict[str, Node],
) -> None:
    # Silent callers are let go after 5 s: on a busy machine they must come faster than that, however many it takes.
    flood = (
        "import select, socket, time\n"
        "held, answer, until = [], b'', time.monotonic() + 60\n"
        "while b' 503 ' not in answer and time.monotonic() < until and len(held) < 900:\n"
        "    held += [socket.create_connection(('127.0.0.1', 8000), 5) for _ in range(30)]\n"
        "    for one in select.select(held, [], [], 0.2)[0]:\n"
        "        answer = one.recv(100) or answer\n"
        "        held.remove(one)\n"
        "        if b' 503 ' in answer: break\n"
        "print(answer.split(b'\\r')[0].decode())\n"
    )
    assert "503" in healthy["web1"].run(f'python3 -c "{flood}"').stdout
    until(lambda: healthy["web1"].ask("/healthz").status == 200, 20)
    assert healthy["web1"].samples("ledger_requests_total", 8080, handler="refused", code="503")


def test_settings_that_are_broken_end_it_at_once_with_the_reason_and_the_last_good_ones_are_kept(
    healthy: dict[str, Node],
) -> None:
    web = healthy["web1"]
    until(lambda: web.run("cmp /etc/ledger/ledger.conf /var/lib/ledger/last-good.conf", check=False).returncode == 0)
    try:
        web.run("echo 'threads = many' >>/etc/ledger/ledger.conf")
        assert web.run("systemctl restart ledger", check=False).returncode != 0
        assert web.run("systemctl show -P ExecMainStatus ledger").stdout.strip() == "78"
        assert "threads" in web.run("journalctl -u ledger -n 5 -o cat").stdout
        assert web.ask("/healthz").status == 502
    finally:
        web.run("cat /var/lib/ledger/last-good.conf >/etc/ledger/ledger.conf && systemctl restart ledger")


def test_a_ledger_that_is_killed_stays_down_for_somebody_else_to_mend(healthy: dict[str, Node]) -> None:
    web = healthy["web2"]
    web.run("systemctl kill -s KILL ledger")
    try:
        until(
            lambda: (
                web.value("node_systemd_unit_state", 9100, name="ledger.service", state="failed", type="notify") == 1
            )
        )
        assert web.ask("/healthz").status == 502
        assert transfer(healthy["lb"])[1].status in {200, 502, 503}
        until(
            lambda: healthy["lb"].value("haproxy_server_status", 8404, server="web2", state="DOWN", proxy="web") == 1,
            15,
        )
        assert {transfer(healthy["lb"])[1].status for _ in range(10)} == {200}
    finally:
        web.run("systemctl start ledger")
