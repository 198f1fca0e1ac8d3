from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.config import inventory as module
from engine.config.inventory import Inventory, InventoryError, fingerprint, load_inventory, read
from engine.config.project import Settings
from engine.config.settings import load_settings

LISTED: Mapping[str, Mapping[str, object]] = {
    "_meta": {
        "hostvars": {
            "web1": {"ansible_host": "10.0.0.1", "depends_on": ["db1"], "port": 80, "tls": True},
            "web2": {"mendbook_instance": "two:9100", "depends_on": "db1"},
            "db1": {"secret": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}, "disks": [{"name": "sda"}]},
        }
    },
    "all": {"children": ["ungrouped", "prod"]},
    "prod": {"children": ["web", "db"]},
    "web": {"hosts": ["web1", "web2"]},
    "db": {"hosts": ["db1"]},
}
YAML = """\
all:
  vars: {service_manager: lab}
  children:
    web:
      hosts:
        web1: {ansible_host: 127.0.0.1, mendbook_address: "127.0.0.1:1"}
        web2: {depends_on: [db1]}
        web3: {}
    db: {hosts: {db1: {}}}
    prod: {hosts: {web1: {}, db1: {}}}
"""


def listed(**hostvars: Mapping[str, object]) -> Inventory:
    return read(
        (Path("hosts.yml"),), {"_meta": {"hostvars": hostvars}, "all": {"children": ["g"]}, "g": {"hosts": [*hostvars]}}
    )


def test_hosts_groups_and_variables_are_as_ansible_says() -> None:
    inventory = read((Path("hosts.yml"),), LISTED)
    web1, web2, db1 = (inventory.fleet.get(name) for name in ("web1", "web2", "db1"))
    assert web1 is not None
    assert web2 is not None
    assert db1 is not None
    assert web1.groups == {"web", "prod"}
    assert web1.instances == {"web1", "10.0.0.1"}
    assert web2.instances == {"web2", "two:9100"}
    assert (web1.depends_on, web2.depends_on, db1.depends_on) == (("db1",), ("db1",), ())
    assert dict(web1.variables) == {"ansible_host": "10.0.0.1", "port": "80", "tls": "true"}
    assert dict(db1.variables) == {}
    assert inventory.hosts["db1"]["secret"] is None
    assert inventory.hosts["db1"]["disks"] == ({"name": "sda"},)
    assert [target.name for target in inventory.fleet.group("prod")] == ["web1", "web2", "db1"]
    assert inventory.problems == ()


def test_a_name_and_a_group_are_known_without_asking_ansible() -> None:
    inventory = read((Path("gone.yml"),), LISTED)
    assert inventory.resolve("web2") == ("web2",)
    assert inventory.resolve("web") == ("web1", "web2")
    assert inventory.resolve("all") == ("web1", "web2", "db1")
    for pattern in ("", "nobody", "-i", "--list", "@/etc/passwd"):
        assert inventory.resolve(pattern) == ()


def test_two_hosts_with_one_instance_are_remarked_upon() -> None:
    same = listed(a={"mendbook_instance": "x"}, b={"mendbook_instance": "x"})
    assert [problem.code for problem in same.problems] == ["ambiguous-instance"]
    assert "a, b" in same.problems[0].message
    assert len(same.fleet.of_instance("x")) == 2


def test_a_port_of_one_host_on_an_address_of_another_is_remarked_upon() -> None:
    same = listed(a={"ansible_host": "10.0.0.1"}, b={"mendbook_instance": "10.0.0.1:9100"})
    assert [problem.message for problem in same.problems] == [
        "the instance '10.0.0.1:9100' means a, b: its alerts will be held"
    ]
    ports = {name: {"mendbook_instance": f"10.0.0.1:{port}"} for name, port in (("a", 1), ("b", 2))}
    assert listed(**ports).problems == ()


def test_a_host_may_depend_on_a_group() -> None:
    hostvars = {"web1": {"depends_on": ["db", "cache1"]}, "db2": {"depends_on": "db"}}
    groups = {"web": {"hosts": ["web1"]}, "db": {"hosts": ["db1", "db2"]}, "cache": {"hosts": ["cache1"]}}
    listing = {"_meta": {"hostvars": hostvars}, "all": {"children": [*groups]}, **groups}
    fleet = read((Path("hosts.yml"),), listing).fleet
    assert [fleet.targets[name].depends_on for name in ("web1", "db2")] == [("db1", "db2", "cache1"), ("db1",)]


def test_a_dependency_that_is_not_there_is_remarked_upon() -> None:
    assert [problem.code for problem in listed(a={"depends_on": ["gone"]}).problems] == ["unknown-host"]


def test_the_fingerprint_changes_with_any_file_that_ansible_would_read(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(YAML)
    before, plain = fingerprint([hosts])
    assert plain
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "web.yml").write_text("a: 1\n")
    with_vars, _ = fingerprint([hosts])
    hosts.write_text(YAML + "\n")
    changed, _ = fingerprint([hosts])
    assert len({before, with_vars, changed}) == 3


def test_what_may_answer_otherwise_each_time_is_no_plain_file(tmp_path: Path) -> None:
    script = tmp_path / "hosts"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    plugin = tmp_path / "cloud.yml"
    plugin.write_text("plugin: constructed\n")
    assert not fingerprint([script])[1]
    assert not fingerprint([plugin])[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text(YAML)
    return tmp_path


def test_an_inventory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="there is no such inventory"):
        load_inventory([tmp_path / "gone.yml"])


@pytest.mark.e2e
def test_ansible_is_asked_once_until_a_file_changes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = project / "state" / "inventory.json"
    first = load_inventory([project / "hosts.yml"], cache)
    assert len(first.fleet) == 4
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    asked = []
    original = module.ask_ansible
    monkeypatch.setattr(module, "ask_ansible", lambda paths, *rest: asked.append(paths) or original(paths, *rest))
    again = load_inventory([project / "hosts.yml"], cache)
    assert again == first
    assert asked == []
    (project / "hosts.yml").write_text(YAML.replace("web3: {}", "web3: {}\n        web4: {}"))
    assert len(load_inventory([project / "hosts.yml"], cache).fleet) == 5
    assert len(asked) == 1


@pytest.mark.e2e
def test_the_answer_of_a_script_counts_for_a_while(tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    script = tmp_path / "hosts"
    script.write_text('#!/bin/sh\necho \'{"web": {"hosts": ["a"]}, "_meta": {"hostvars": {}}}\'\n')
    script.chmod(0o755)
    assert [target.name for target in load_inventory([script], cache).fleet] == ["a"]
    kept = json.loads(cache.read_text())
    kept["at"] = time.time() - module.PLUGIN_AGE - 1
    kept["listed"]["web"]["hosts"] = ["stale"]
    cache.write_text(json.dumps(kept))
    assert [target.name for target in load_inventory([script], cache).fleet] == ["a"]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("web:&prod", ("web1",)),
        ("web:!web1", ("web2", "web3")),
        ("web[0:1]", ("web1", "web2")),
        ("web*", ("web1", "web2", "web3")),
        ("~web[23]", ("web2", "web3")),
        ("db1,web2", ("web2", "db1")),
        ("nobody*", ()),
        ("web:&nobody", ()),
        ("web:!web", ()),
    ],
)
def test_a_pattern_means_what_it_means_to_ansible_and_never_all(
    project: Path, pattern: str, hosts: tuple[str, ...]
) -> None:
    inventory = load_inventory([project / "hosts.yml"], project / "cache.json")
    assert inventory.resolve(pattern) == hosts


@pytest.mark.e2e
def test_what_ansible_complains_of_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: [not, a, mapping\n")
    with pytest.raises(InventoryError, match=r"hosts\.yml"):
        load_inventory([tmp_path / "hosts.yml"])


@pytest.mark.e2e
def test_a_project_without_an_inventory_has_this_machine(tmp_path: Path) -> None:
    settings: Settings = load_settings(None, tmp_path)
    inventory = load_inventory(settings.inventory)
    assert [target.name for target in inventory.fleet] == ["localhost"]
    assert inventory.hosts["localhost"]["ansible_connection"] == "local"


def test_a_cache_that_cannot_be_read_is_asked_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = project / "cache.json"
    cache.write_bytes(os.urandom(40))
    monkeypatch.setattr(module, "ask_ansible", lambda _: LISTED)
    assert len(load_inventory([project / "hosts.yml"], cache).fleet) == 3
    assert json.loads(cache.read_text())["listed"] == LISTED


def test_however_much_ansible_is_to_say_its_answer_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "4")
    monkeypatch.setenv("ANSIBLE_DEBUG", "1")
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web-1: {}}}\n")
    assert load_inventory([tmp_path / "hosts.yml"]).resolve("all") == ("web-1",)
