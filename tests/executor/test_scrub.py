from __future__ import annotations

import base64
import json
import shlex
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.executor.scrub import HIDDEN, Scrubber, redacted, secrets_in
from engine.model.secrecy import looks_secret, texts_in


@pytest.mark.parametrize(
    "name",
    [
        *[
            "password",
            "DB_PASSWORD",
            "dbPasswd",
            "api_token",
            "AWS_SECRET_ACCESS_KEY",
            "secret",
            "ssh_private_key",
            "apikey",
        ],
        *["passphrase", "vault_pass", "become_pass", "credentials", "key", "encryption-key", "auth", "rootpw_pw"],
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "keyboard",
        "monkey",
        "service",
        "ANSIBLE_VAULT_PASSWORD_FILE",
        "ANSIBLE_HOST_KEY_CHECKING",
        "SSH_AUTH_SOCK",
        "compass",
    ],
)
def test_an_ordinary_name_is_no_secret(name: str) -> None:
    assert not looks_secret(name)


def test_secrets_are_found_and_hidden_however_deep() -> None:
    values = {
        "a": [{"db": {"password": "one-1", "user": "u"}}],
        "tokens": ["two-2", {"x": 3333}],
        "secret": None,
        "n": 1,
    }
    assert secrets_in(values) == {"one-1", "two-2", "3333"}
    assert redacted(values) == {
        "a": [{"db": {"password": HIDDEN, "user": "u"}}],
        "tokens": HIDDEN,
        "secret": None,
        "n": 1,
    }


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=6), st.text(), st.text())
def test_a_known_value_is_hidden_wherever_it_stands(secret: str, before: str, after: str) -> None:
    shown = Scrubber([secret])(f"{before}{secret}{after}")
    if secret not in before + HIDDEN + after:
        assert secret not in shown.replace(HIDDEN, "\x00")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("mysql --password=hunter2 -u root", "hunter2"),
        ('{"api_token": "hunter2", "n": 1}', "hunter2"),
        ("DB_PASSWORD: 'hunter 2'", "hunter 2"),
        ("Authorization: Bearer abcdefgh.ijkl", "abcdefgh"),
        ("postgresql://app:hunter2@db/x", "hunter2"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----", "hunter2"),
    ],
)
def test_a_secret_is_known_by_where_it_stands(text: str, hidden: str) -> None:
    assert hidden not in Scrubber()(text)


def test_each_line_of_a_long_secret_is_hidden_and_ordinary_words_are_not() -> None:
    scrubber = Scrubber(["first line\nsecond line", "true", "abc"])
    assert scrubber("second line; true abc") == f"{HIDDEN}; true abc"


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "password",
        'password="',
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "a.",
        "a://a",
        "a://a:",
        "secret ",
        "Bearer ",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    scrubber = Scrubber(["known-value"])
    text = piece * (100_000 // len(piece))
    begun = time.process_time()
    scrubber(text)
    assert time.process_time() - begun < 2.0


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=8), st.binary(), st.binary())
def test_a_known_value_is_hidden_however_it_is_written(secret: str, before: bytes, after: bytes) -> None:
    scrubber = Scrubber([secret])
    whole = base64.b64encode(before + secret.encode() + after).decode()
    start, end = -(-len(before) // 3) * 4, (len(before) + len(secret.encode())) // 3 * 4
    assert whole[start:end] not in scrubber(whole).replace(HIDDEN, "\x00")
    for written in (
        json.dumps(secret), json.dumps(secret, ensure_ascii=False), json.dumps(json.dumps(secret)), quote(secret, safe=""),
        quote_plus(secret), shlex.quote(secret),
    ):  # fmt: skip
        shown = scrubber(f"it is {written}.")
        assert HIDDEN in shown
        assert set(shown.replace(HIDDEN, "")) <= set("it is.'\"\\")


def test_many_known_values_cost_little() -> None:
    scrubber = Scrubber(f"{number:x}-secret-{number}" for number in range(1000))
    text = "the quick brown fox jumps over the lazy dog\n" * 1500
    scrubber("once")
    begun = time.process_time()
    assert scrubber(text) == text
    assert time.process_time() - begun < 1.0


def test_what_came_of_a_hushed_task_is_secret_but_for_how_it_went() -> None:
    result = {
        "changed": True, "rc": 0, "start": "2026-01-01 00:00:00.000000", "cmd": ["/usr/bin/fetch", "--id", "a1b2c3d4e5"],
        "stdout": "token=x9y8z7w6v5", "stdout_lines": ["token=x9y8z7w6v5"], "results": [{"json": {"value": 12345678}}],
        "msg": "fetched it with f00dbeef99", "state": "present",
    }  # fmt: skip
    assert set(texts_in(result)) == {"a1b2c3d4e5", "token=x9y8z7w6v5", "x9y8z7w6v5", "12345678", "f00dbeef99"}
