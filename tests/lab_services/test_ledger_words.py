"""What the ledger accepts as settings and as transfers, and how it tells figures: nothing that needs a database."""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_figures import BUCKETS, Figures
from ledger_words import Refused, SettingsError, Transfer, read_id, read_settings, read_transfer

WORKING = "[server]\nnode = web1\n\n[database]\nhosts = 10.0.0.1 10.0.0.2\n"


def test_settings_have_defaults_for_all_but_the_node_and_the_hosts() -> None:
    settings = read_settings(WORKING)
    assert (settings.node, settings.hosts, settings.port) == ("web1", ("10.0.0.1", "10.0.0.2"), 8000)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("", "server"),
        ("[server]\nnode = a\n", "database"),
        (WORKING.replace("node = web1", ""), "node"),
        (WORKING.replace("[server]", "[server]\nprot = 1"), "prot"),
        (WORKING.replace("[server]", "[server]\nport = many"), "many"),
        (WORKING.replace("[server]", "[server]\nport = 0"), "port"),
        (WORKING.replace("[server]", "[server]\nthreads = 65"), "threads"),
        (WORKING.replace("10.0.0.1 10.0.0.2", ""), "hosts"),
        (WORKING.replace("[server]", "[server"), "server"),
        (WORKING.replace("[server]", "[server]\nscan_interval = nan"), "scan_interval"),
        ("\x00\x01\x02", "header"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_the_reason(broken: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read_settings(broken)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_settings(text: str) -> None:
    try:
        settings = read_settings(text)
    except SettingsError:
        return
    assert settings.hosts


def body(**changes: object) -> bytes:
    asked = {"id": str(uuid.UUID(int=7)), "source": 1, "destination": 2, "amount": 3} | changes
    return json.dumps(asked).encode()


def test_a_transfer_is_read_as_it_was_asked_for() -> None:
    assert read_transfer(body()) == Transfer(str(uuid.UUID(int=7)), 1, 2, 3)


def test_an_id_has_one_spelling() -> None:
    assert read_id("{7F000000-0000-0000-0000-0000000000AB}") == "7f000000-0000-0000-0000-0000000000ab"


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 4000,
        body(amount=0),
        body(amount=-1),
        body(amount=10**13),
        body(amount=1.5),
        body(amount=True),
        body(amount="1"),
        body(destination=1),
        body(id=7),
        body(id="x"),
        body(more=1),
        body(source=1 << 31),
        body(source=0),
    ],
)
def test_a_transfer_that_cannot_be_is_refused_before_the_database_hears_of_it(asked: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_transfer(asked)
    assert refused.value.status in {400, 404}


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reading_of_transfers(asked: bytes) -> None:
    with pytest.raises(Refused):
        read_transfer(asked)


def test_requests_are_counted_by_code_and_time() -> None:
    figures = Figures()
    for seconds in (0.001, 0.005, 0.3, 99.0):
        figures.answered("transfer", 200, seconds)
    figures.answered("transfer", 503, 0.02)
    page = figures.page().splitlines()
    assert 'ledger_requests_total{handler="transfer",code="200"} 4' in page
    assert 'ledger_requests_total{handler="transfer",code="503"} 1' in page
    counts = [int(line.split()[-1]) for line in page if line.startswith("ledger_request_duration_seconds_bucket")]
    assert counts == sorted(counts)
    assert (len(counts), counts[0], counts[-2], counts[-1]) == (len(BUCKETS) + 1, 2, 4, 5)


def test_figures_of_a_scan_that_failed_are_not_shown_as_if_they_were_new() -> None:
    figures = Figures()
    assert "ledger_scan_success" not in "".join(line for line in figures.page().splitlines(True) if line[0] != "#")
    figures.read((10, 2, 1))
    assert "ledger_total 10\n" in figures.page()
    figures.unread("XX001")
    page = figures.page()
    assert "ledger_total" not in page
    assert 'ledger_scan_error{sqlstate="XX001"} 1' in page
    assert "ledger_scan_success 0" in page
    figures.read((10, 2, 1))
    assert "ledger_scan_error" not in figures.page()


def test_figures_of_a_scanner_that_died_are_not_shown_for_ever() -> None:
    figures = Figures()
    figures.read((10, 2, 1))
    figures.fresh_until = time.monotonic() - 1
    assert "ledger_total" not in figures.page()
    assert "ledger_scan_success 0" in figures.page()


def test_the_process_tells_its_own_figures() -> None:
    told = dict(line.split() for line in Figures().page().splitlines() if line.startswith("process_"))
    assert float(told["process_resident_memory_bytes"]) > 1 << 20
    assert 0 < int(told["process_open_fds"]) < int(told["process_max_fds"])
    assert int(told["process_threads"]) == threading.active_count()


def test_the_words_and_figures_need_no_database_driver() -> None:
    assert "psycopg2" not in vars(sys.modules["ledger_words"]) | vars(sys.modules["ledger_figures"])
