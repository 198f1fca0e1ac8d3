"""What of people's files is shown or kept elsewhere has no secrets in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.errors import Problem
from engine.config.inventory import load_inventory
from engine.config.project import shorn
from engine.config.settings import read_settings
from engine.model.runbook import Place
from engine.model.veil import has_secrets, veiled, without_secrets
from engine.records.errors import RecordError
from engine.records.opening import address, shown

WRONG = """\
notify: {urlz: "json://h/PLANTED1"}
heartbeat: "ftp://u:PLANTED2@h/PLANTED3"
record: {url: "postgresql://u:PLANTED4@h/db?password=PLANTED5", zzz: 1}
evaluator: {prometheus: "http://u:PLANTED6@h/?token=PLANTED7", headers: {Authorization: "Bearer PLANTED8", x: [1]}}
sources:
  exposition:
    - {job: a, url: "http://u:PLANTED9@{{ h/x"}
    - {job: b, url: "http://u:PLANTED10@{{ h }}/x", timeot: 3}
  probe: [{job: c, http: "https://h/hooks/1234abcdPLANTED11", tcp: "x"}]
api_token: PLANTED12
password: 'PLANTED13'
"""


def test_a_mistake_is_shown_with_its_line_and_without_the_secrets_on_it(tmp_path: Path) -> None:
    file = tmp_path / "mendbook.yml"
    file.write_text(WRONG)
    _, problems = read_settings(file, tmp_path)
    text = "\n".join(map(str, problems))
    assert len({problem.place.line for problem in problems if problem.place}) >= 9, text
    assert "PLANTED" not in text
    assert 'notify: {urlz: "json://•' in text
    assert '{{ h/x"}' in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("expr: rate(x[5m]) > 1", "expr: rate(x[5m]) > 1"),
        ("token_file: /etc/token", "token_file: /etc/token"),
        ('password: "{{ vault_password }}"', 'password: "{{ vault_password }}"'),
        ("db_password: hunter2  # it", "db_password: •••••••  # it"),
        ('x: {token: "ab", y: 1}', 'x: {token: "••", y: 1}'),
        ("url: http://a:9090/metrics", "url: http://a:9090/metrics"),
        ("url: http://me:pw@a:9090/x?k=v&b=2", "url: http://me:••@a:9090/x?k=•&b=•"),
        ("url: https://hooks.example.net/T0/B1a2b3c4d5e6f7", "url: https://hooks.example.net/T0/••••••••••••••"),
        ("urls: [slack://A/B/C, mailto://u:p@h]", "urls: [slack://•••••, mailto://•••••]"),
    ],
)  # fmt: skip
def test_what_may_be_secret_is_veiled_letter_by_letter(line: str, expected: str) -> None:
    assert veiled(line) == expected
    assert len(veiled(line)) == len(line)


def test_the_caret_stands_where_it_stood() -> None:
    line = '  notify: {urls: "json://h/hush", of: [never]}'
    column = line.index("never") + 1
    *_, shown_line, caret = str(Problem("x", "y", Place("f", 3, column), line, 5)).splitlines()
    assert shown_line[caret.index("^") :].startswith("never")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ansible_host": "10.0.0.1", "n": 3, "x": {"y": ["z"]}}, False),
        ({"ansible_password": "hunter2"}, True),
        ({"x": [{"db": {"password": "hunter2"}}]}, True),
        ({"keys": {"deploy": ["AAAA"]}}, True),
        ({"connection": "postgresql://app:hunter2@db/x"}, True),
        ({"x": "-----BEGIN PRIVATE KEY-----\nMII"}, True),
        ({"password": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n6162"}}, False),
        ({"ansible_become_password": "{{ vault_become }}"}, False),
        ({"ansible_become_password": "{{ 'hunter2' }}"}, True),
        ({"password": ""}, False),
        ({"password_file": "/etc/x"}, False),
    ],
)
def test_an_inventory_with_secrets_is_told_from_one_without(variables: dict[str, object], expected: bool) -> None:
    assert has_secrets({"_meta": {"hostvars": {"web-1": variables}}}) is expected


@pytest.mark.parametrize("secret", [False, True])
def test_what_ansible_says_of_an_inventory_is_kept_unless_it_has_secrets(tmp_path: Path, secret: bool) -> None:
    hosts = {"all": {"hosts": {"web-1": {"a": 1, **({"ansible_password": "hunter2"} if secret else {})}}}}
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    cache = tmp_path / "state" / "inventory.json"
    found = load_inventory([tmp_path / "hosts.json"], cache)
    assert found.hosts["web-1"]["a"] == 1
    assert cache.exists() is not secret


def test_what_a_runbook_may_ask_of_a_host_has_no_secrets() -> None:
    variables = {
        "rack": "a",
        "db_password": "x",
        "db": {"user": "u", "pw": "x"},
        "l": ("http://a:b@c", "d"),
        "key": "x",
    }
    assert without_secrets(variables) == {"rack": "a", "db": {"user": "u"}, "l": ("d",)}


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("postgresql://u:hunter2@h:5432/x", "postgresql://h:5432/x"),
        ("postgresql://h/x?password=hunter2&host=/run/x", "postgresql://h/x?host=/run/x"),
        ("postgresql://u@/x?password=hunter2", "postgresql:///x"),
    ],
)
def test_a_database_is_told_of_without_user_and_password(database: str, expected: str) -> None:
    assert shorn(database) == expected
    assert "hunter2" not in shown(address(database))


def test_a_database_whose_port_is_no_number_is_no_database() -> None:
    with pytest.raises(RecordError, match="not a database URL") as caught:
        address("postgresql://u:hunter2@h:54x/db")
    assert "hunter2" not in str(caught.value)
