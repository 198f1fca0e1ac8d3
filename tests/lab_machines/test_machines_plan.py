"""What a lab is made of, as values: addresses, inventory, what is written down, what is missing."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.config.inventory import load_inventory
from engine.config.settings import load_settings
from engine.lab.vagrant import (
    commands,
    disks,
    figures,
    image,
    inventory,
    life,
    machines,
    needs,
    network,
    place,
    plan,
    record,
)
from engine.lab.vagrant.plan import LabError, Provider

REPOSITORY = Path(__file__).resolve().parents[2]


def lab(folder: Path, provider: Provider = Provider.DOCKER, index: int = 0, wanted: tuple[str, ...] = ()) -> place.Lab:
    return place.new(folder, index, provider, wanted)


def written(folder: Path, **more: object) -> dict[str, object]:
    return {**inventory.inventory(lab(folder), Path("/usr/bin/mendbook"))["lab"], **more}


@given(st.sampled_from(plan.INDEXES), st.sampled_from(plan.INDEXES))
def test_labs_of_different_indexes_share_no_address_and_no_name(one: int, two: int) -> None:
    first, second = plan.plan(one), plan.plan(two)
    shared = {node.address for node in first.nodes} & {node.address for node in second.nodes}
    shared |= {node.loopback for node in first.nodes} & {node.loopback for node in second.nodes}
    shared |= {node.container for node in first.nodes} & {node.container for node in second.nodes}
    assert bool(shared) == (one == two)
    assert first.subnet.overlaps(second.subnet) == (one == two)


@given(st.sampled_from(plan.INDEXES))
def test_nodes_are_reached_on_loopback_and_live_in_the_labs_subnet(index: int) -> None:
    for node in plan.plan(index).nodes:
        assert IPv4Address(node.loopback).is_loopback
        assert IPv4Address(node.address) in plan.plan(index).subnet


def test_the_lab_has_the_nodes_and_the_addresses_that_playbooks_count_on() -> None:
    nodes = {node.name: (node.groups, node.address, node.loopback) for node in plan.plan(0).nodes}
    assert nodes == {
        "lb": (("balancers",), "10.89.70.11", "127.89.70.11"),
        "web1": (("web",), "10.89.70.12", "127.89.70.12"),
        "web2": (("web",), "10.89.70.13", "127.89.70.13"),
        "db1": (("db",), "10.89.70.14", "127.89.70.14"),
        "db2": (("db",), "10.89.70.15", "127.89.70.15"),
        "standby": (("spare",), "10.89.70.16", "127.89.70.16"),
    }


@pytest.mark.parametrize(
    ("index", "wanted", "told"),
    [(10, (), "0 to 9"), (-1, (), "0 to 9"), (0, ("web3",), "no node 'web3'; there are lb")],
)
def test_a_lab_that_cannot_be_is_refused(index: int, wanted: tuple[str, ...], told: str) -> None:
    with pytest.raises(LabError, match=re.escape(told)):
        plan.plan(index, wanted)


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    made = lab(tmp_path, index=3, wanted=("web1", "lb"))
    record.write(made)
    assert place.read(tmp_path) == made
    assert [node.name for node in made.plan.nodes] == ["lb", "web1"]


def test_another_lab_does_not_take_a_labs_folder(tmp_path: Path) -> None:
    record.write(lab(tmp_path, index=3))
    assert life.begun(tmp_path, None, None, ()).plan.index == 3
    for index, provider, wanted in ((4, None, ()), (None, Provider.LIBVIRT, ()), (3, None, ("lb",))):
        with pytest.raises(LabError, match=f"another lab was begun in {tmp_path}"):
            life.begun(tmp_path, index, provider, wanted)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": 1}'])
def test_a_state_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(LabError, match=r"lab\.json cannot be read"):
        place.read(tmp_path)


def test_one_at_a_time_makes_or_ends_a_lab(tmp_path: Path) -> None:
    where = place.Place(tmp_path)
    with where.locked(), pytest.raises(LabError, match=f"process {os.getpid()} is at work"), where.locked():
        pass
    with where.locked():
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_ansible_and_mendbook_read_the_inventory(tmp_path: Path) -> None:
    made = lab(tmp_path, index=2)
    inventory.write(made)
    found = load_inventory((made.place.inventory,), tmp_path / "cache.json")
    assert set(found.hosts) == set(plan.names())
    web1 = found.hosts["web1"]
    assert web1["ansible_host"] == "127.89.72.12"
    assert web1["lab_address"] == "10.89.72.12"
    assert web1["mendbook_http_url"] == "http://127.89.72.12:8080/healthz"
    assert web1["service"] == "ledger.service"
    assert web1["depends_on"] == ("db1", "db2")
    for verb, word in (("off", "off"), ("on", "on"), ("status", "status")):
        command = web1[f"fence_{verb}_command"]
        assert list(command[1:]) == ["lab", "power", "--dir", str(tmp_path), "web1", word]
        assert Path(command[0]).is_absolute()
    assert [name for name, facts in found.hosts.items() if "mendbook_postgres_url" in facts] == ["db1", "db2"]


def test_addresses_that_sources_read_are_no_templates(tmp_path: Path) -> None:
    hosts = written(tmp_path)["hosts"]
    assert isinstance(hosts, dict)
    values = [str(value) for facts in hosts.values() for name, value in facts.items() if name.startswith("mendbook_")]
    assert len(values) > len(plan.names())
    assert not [value for value in values if "{{" in value]


def test_a_host_depends_only_on_hosts_that_are_there(tmp_path: Path) -> None:
    text = inventory.inventory(lab(tmp_path, wanted=("lb", "web1")), Path("mendbook"))["lab"]
    assert text["hosts"]["lb"]["depends_on"] == ["web1"]
    assert "depends_on" not in text["hosts"]["web1"]


def test_the_projects_settings_and_sources_fit_the_inventory(tmp_path: Path) -> None:
    made = lab(tmp_path)
    inventory.write(made)
    made.place.settings.write_bytes(record.TEMPLATE.read_bytes())
    settings = load_settings(made.place.settings, tmp_path)
    assert settings.approvals.all == "never"
    hosts = load_inventory(settings.inventory, tmp_path / "cache.json").hosts
    wanted = {
        name
        for each in (*settings.expositions, *settings.probes)
        for name in re.findall(r"\{\{ (\w+) \}\}", yaml.dump(str(each)))
    }
    assert wanted == {name for facts in hosts.values() for name in facts if name in wanted}


def test_containers_are_limited_marked_and_published_on_loopback_alone(tmp_path: Path) -> None:
    made = lab(tmp_path, index=1)
    options = machines.podman_options(made, made.plan.node("web2"))
    pairs = list(itertools.pairwise(options))
    published = [value for name, value in pairs if name == "-p"]
    assert len(published) == len(plan.ports())
    assert all(value.startswith("127.89.71.13:") for value in published)
    assert ("--memory", "512m") in pairs
    assert ("--cpus", "1") in pairs
    assert ("--label", f"mendbook.lab={made.mark}") in pairs
    assert not any(
        "/proc/" in option for option in options
    )  # lxcfs does not run: figures would be files that nobody writes
    assert "--privileged" not in options


def test_other_providers_get_no_options_of_podman(tmp_path: Path) -> None:
    told = record.described(lab(tmp_path, Provider.VIRTUALBOX))
    assert json.loads(json.dumps(told)) == told
    assert all(node["options"] == [] for node in told["nodes"])


def test_what_uses_a_labs_addresses_is_named() -> None:
    subnet = IPv4Network("10.89.70.0/24")
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.89.70.0/24", "type": "unreachable", "metric": 5000},
        {"dst": "10.89.71.0/24", "dev": "podman2"},
    ]
    assert network.occupant(subnet, routes, [{"name": "podman", "subnets": [{"subnet": "10.88.0.0/16"}]}]) == ""
    assert network.occupant(subnet, [*routes, {"dst": "10.89.64.0/18", "dev": "tun0"}], []) == "a route over tun0"
    assert (
        network.occupant(subnet, routes, [{"name": "x", "subnets": [{"subnet": "10.89.70.128/25"}]}])
        == "podman's network x"
    )
    assert (
        network.occupant(subnet, [{"dst": "10.89.70.9", "dev": "wg0"}], [{"name": "y", "subnets": None}])
        == "a route over wg0"
    )


def test_the_walls_name_the_labs_subnet_alone_and_can_be_loaded_again() -> None:
    text = network.rules(plan.plan(4))
    assert set(re.findall(r"[\d.]+/\d+", text)) == {"10.89.74.0/24"}
    assert (
        text.index("table inet mendbook-lab-4\n")
        < text.index("delete table inet mendbook-lab-4")
        < text.index("chain forward")
    )


def test_what_is_missing_is_told_with_the_line_that_installs_it() -> None:
    lacking = needs.missing(Provider.DOCKER, lambda need: need.package not in ("podman", "lxcfs"))
    assert needs.line(lacking) == "apt-get install --no-install-recommends podman lxcfs"
    assert [bool(need.optional) for need in lacking] == [False, True]


@pytest.mark.parametrize("provider", list(Provider))
def test_every_provider_needs_vagrant_and_keys(provider: Provider) -> None:
    assert {"vagrant", "openssh-client"} <= {need.package for need in needs.needs(provider)}


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = image.name()
    for name in ("packages", "image/customize.sh", "image/lab-bootid.service"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((plan.HERE / name).read_bytes())
    monkeypatch.setattr(image, "HERE", tmp_path)
    assert image.name() == before
    (tmp_path / "packages").write_text("systemd\n")
    assert image.name() != before
    assert image.packages() == ("systemd",)


def test_the_cache_is_where_people_keep_theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert image.cached().parent == tmp_path / "mendbook-lab"


def test_processes_of_a_lab_are_known_by_their_mark(tmp_path: Path) -> None:
    made = lab(tmp_path)
    with subprocess.Popen(["sleep", "60"], env=commands.environment(made)) as sleeper:
        assert commands.strays(made.mark) == {sleeper.pid: "sleep"}
        assert commands.end_strays(made) == 1
        assert sleeper.wait(5) == -9
    assert commands.strays(made.mark) == {}


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    made = lab(tmp_path)
    with pytest.raises(LabError, match="took longer"):
        commands.Commands(made).follow("sh", "-c", "echo begun; sleep 60 & wait", heard=lambda _: None, timeout=0.5)
    assert commands.strays(made.mark) == {}


def test_a_command_that_fails_is_quoted_and_logged(tmp_path: Path) -> None:
    made, heard = lab(tmp_path), []
    with pytest.raises(LabError, match=r"(?s)failed; .*the last words"):
        commands.Commands(made).follow("sh", "-c", "echo the last words; exit 3", heard=heard.append, timeout=10)
    assert heard == ["the last words"]
    assert "the last words" in made.place.log.read_text()
    with pytest.raises(LabError, match="nowhere is not installed; `mendbook lab needs`"):
        commands.Commands(made).run("nowhere")


def test_mounts_below_a_folder_are_found_innermost_first() -> None:
    found = disks.mounts_below(Path("/"))
    assert Path("/proc") in found
    assert found[-1] == Path("/")


def test_no_lxcfs_of_another_lab_is_taken_for_ours(tmp_path: Path) -> None:
    assert figures.running(place.Place(tmp_path)) == []
    assert not figures.shows(place.Place(tmp_path))


def test_down_without_a_lab_touches_nothing(tmp_path: Path) -> None:
    assert not life.down(tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_the_vagrantfile_goes_by_the_same_facts() -> None:
    text = (REPOSITORY / "Vagrantfile").read_text()
    assert machines.vagrantfile() == REPOSITORY / "Vagrantfile"
    for word in set(re.findall(r'CONTRACT\["(\w+)"\]', text)):
        assert word in plan.contract()
    told = {*record.described(lab(Path("/x"))), "index"}
    assert set(re.findall(r'LAB\["(\w+)"\]', text)) <= told


def test_the_lab_command_says_what_there_is(tmp_path: Path) -> None:
    mendbook = [sys.executable, "-P", "-c", "from engine.cli.main import main; main()", "-C", str(tmp_path), "lab"]
    for words in (["status"], ["down"]):
        done = subprocess.run([*mendbook, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "no lab in" in done.stderr
        assert "`mendbook lab up`" in done.stderr
        assert "`mendbook demo --keep`" in done.stderr
