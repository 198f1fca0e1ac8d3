"""The site on real nodes: exporters, balancer, certificates and backups; a second run changes nothing."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab_services.nodes import Node, until

pytestmark = pytest.mark.lab
ROOT = Path(__file__).resolve().parents[2]
FIGURES = "/usr/local/sbin/files-backup"


def site(inventory: Path, *arguments: str) -> str:
    tools = Path(sys.executable).parent
    environment = os.environ | {
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": "6",
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    command = [str(tools / "ansible-playbook"), "-i", str(inventory), str(ROOT / "playbooks" / "lab.yml"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [("--check", "--diff"), ()], ids=["check", "run"])
def test_the_site_changes_nothing_where_it_has_run(
    lab_inventory: Path, healthy: dict[str, Node], arguments: tuple[str, ...]
) -> None:
    output = site(lab_inventory, *arguments)
    changed = re.findall(r"^(\S+) .*changed=(\d+)", output, re.MULTILINE)
    assert sorted(name for name, _ in changed) == sorted(healthy)
    assert {count for _, count in changed} == {"0"}, output


def test_a_unit_that_is_older_than_its_file_is_restarted_though_the_run_that_wrote_the_file_never_came_so_far(
    lab_inventory: Path, nodes: dict[str, Node]
) -> None:
    started = "systemctl show -P ActiveEnterTimestampMonotonic prometheus-process-exporter"
    before = nodes["lb"].run(started).stdout
    nodes["lb"].run("touch /etc/lab/process-exporter.yml")
    assert "changed=1" in site(lab_inventory, "--limit", "lb")
    assert nodes["lb"].run(started).stdout != before


def test_every_node_tells_its_figures_and_those_of_its_programs(nodes: dict[str, Node]) -> None:
    programs = {
        "lb": "haproxy",
        "web1": "ledger",
        "web2": "nginx",
        "db1": "postgres",
        "db2": "postgres",
        "standby": "sshd",
    }
    for name, node in nodes.items():
        assert (node.value("node_filesystem_size_bytes", 9100, mountpoint="/srv", fstype="ext4") or 0) > 0
        assert (node.value("node_filesystem_files", 9100, mountpoint="/var/log", fstype="ext4") or 0) > 0
        assert (node.value("node_processes_state", 9100, state="S") or 0) > 0
        assert (node.value("node_filefd_allocated", 9100) or 0) > 0
        group = programs[name]
        assert (node.value("namedprocess_namegroup_num_procs", 9256, groupname=group) or 0) > 0, (name, group)
        assert (node.value("namedprocess_namegroup_open_filedesc", 9256, groupname=group) or 0) > 0, (
            "not allowed to look"
        )
    for name in ("db1", "db2"):  # after a restart of the database its exporter finds out at the first look
        until(lambda server=nodes[name]: server.value("pg_up", 9187) == 1)


def test_processes_of_one_program_are_one_group_whatever_they_call_themselves(nodes: dict[str, Node]) -> None:
    node = nodes["standby"]
    node.run(
        "systemd-run --quiet --unit lab-test-stress -p RuntimeMaxSec=60 stress-ng --cpu 1 --cpu-load 1 --vm 1 --vm-bytes 4m"
    )
    try:
        until(lambda: (node.value("namedprocess_namegroup_num_procs", 9256, groupname="stress-ng") or 0) >= 3)
        groups = node.samples("namedprocess_namegroup_num_procs", 9256)
        assert not [group for group in groups if group.startswith("groupname=stress-ng-")]
    finally:
        node.run("systemctl stop lab-test-stress", check=False)


def test_the_names_of_the_nodes_are_known_on_each(nodes: dict[str, Node]) -> None:
    for node in nodes.values():
        for other in nodes.values():
            assert node.run(f"getent ahostsv4 {other.name}").stdout.split()[0] == other.variables["lab_address"]


def test_the_balancer_drains_a_server_and_has_a_slot_for_the_one_that_stands_by(healthy: dict[str, Node]) -> None:
    lb = healthy["lb"]
    tell = "socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<"
    assert lb.value("haproxy_server_status", 8404, proxy="web", server="standby", state="MAINT") == 1
    lb.run(f"bash -c \"{tell} 'set server web/web1 state drain'\"")
    try:
        assert lb.value("haproxy_server_status", 8404, proxy="web", server="web1", state="DRAIN") == 1
        before = healthy["web1"].value("ledger_requests_total", 8080, handler="invariant", code="200")
        assert {lb.ask("/invariant").status for _ in range(6)} == {200}
        assert healthy["web1"].value("ledger_requests_total", 8080, handler="invariant", code="200") == before
    finally:
        lb.run(f"bash -c \"{tell} 'set server web/web1 state ready'\"")
    until(lambda: lb.value("haproxy_server_status", 8404, proxy="web", server="web1", state="UP") == 1)


def test_figures_of_the_ledger_are_not_told_through_the_balancer(nodes: dict[str, Node]) -> None:
    assert nodes["lb"].ask("/metrics").status == 403


def test_the_balancer_serves_a_certificate_of_the_labs_own_authority_whose_end_is_told(nodes: dict[str, Node]) -> None:
    lb = nodes["lb"]
    checked = lb.run(
        "openssl s_client -connect 127.0.0.1:8443 -CAfile /etc/lab/authority/ca.crt -verify_return_error -verify_hostname lb </dev/null"
        " | openssl x509 -noout -enddate"
    ).stdout
    end = ssl.cert_time_to_seconds(checked.strip().removeprefix("notAfter="))
    assert end > time.time() + 86400
    for source in ("file", "served"):
        assert set(lb.samples("mendbook_certificate_not_after_seconds", 9100, source=source).values()) == {end}


def test_a_new_certificate_is_served_after_a_reload_and_its_end_is_told(nodes: dict[str, Node]) -> None:
    lb = nodes["lb"]

    def told(source: str) -> float:
        return max(lb.samples("mendbook_certificate_not_after_seconds", 9100, source=source).values())

    lb.run("lab-certificate --days 2 && systemctl reload haproxy")
    try:
        until(lambda: told("file") == told("served") < time.time() + 2 * 86400 + 60)
    finally:
        lb.run("lab-certificate --days 90 && systemctl reload haproxy")
    until(lambda: told("file") == told("served") > time.time() + 89 * 86400)


def test_files_that_are_gone_are_told_are_not_backed_up_and_come_back_from_the_snapshot(nodes: dict[str, Node]) -> None:
    web = nodes["web1"]
    web.run("systemctl start files-verify")
    assert web.value("mendbook_backup_valid", 9100, kind="files") == 1
    assert (web.value("mendbook_backup_verified_timestamp_seconds", 9100, kind="files") or 0) > time.time() - 300
    web.run("cp -a /srv/ledger/www /srv/ledger/kept && rm -rf /srv/ledger/www")
    try:
        until(lambda: (web.value("mendbook_files_missing", 9100, path="/srv/ledger/www") or 0) >= 3)
        assert web.ask("/").status == 404
        refused = web.run(f"{FIGURES} backup", check=False)
        assert (refused.returncode, "holds no files" in refused.stderr) == (1, True)
        assert web.value("mendbook_backup_refused", 9100, kind="files") == 1
        web.run(f"{FIGURES} verify")
        restic = "restic -q -r sftp:lab-files:/srv/backup/files/web1 --password-file /etc/lab/files/password"
        web.run(f"{restic} restore latest --include /srv/ledger/www --target /")
        assert web.run("diff -r /srv/ledger/www /srv/ledger/kept").stdout == ""
        until(lambda: web.value("mendbook_files_missing", 9100, path="/srv/ledger/www") == 0)
        assert web.ask("/").status == 200
    finally:
        web.run("rm -rf /srv/ledger/www && mv /srv/ledger/kept /srv/ledger/www && systemctl start files-backup")
    assert web.value("mendbook_backup_refused", 9100, kind="files") == 0


def test_a_file_that_was_changed_is_told_until_it_is_backed_up(nodes: dict[str, Node]) -> None:
    web = nodes["web2"]
    web.run(
        "systemctl start files-backup && cp -a /srv/ledger/www/terms.txt /srv/ledger/ && echo more >>/srv/ledger/www/terms.txt"
    )
    try:
        until(lambda: web.value("mendbook_files_changed", 9100, path="/srv/ledger/www") == 1)
    finally:
        web.run("mv /srv/ledger/terms.txt /srv/ledger/www/terms.txt")
    until(lambda: web.value("mendbook_files_changed", 9100, path="/srv/ledger/www") == 0)


def test_a_broken_newest_snapshot_is_told_and_the_next_backup_is_good_again(nodes: dict[str, Node]) -> None:
    web, store = nodes["web2"], nodes["standby"]
    web.run(
        "systemctl start files-verify; head -c 300000 /dev/urandom >/srv/ledger/www/noise && systemctl start files-backup"
    )
    folder, pack = "/srv/backup/files/web2/data", ""
    try:
        pack = store.run(f"find {folder} -type f -size +200k | tail -n 1").stdout.strip()
        store.run(f"mv {pack} /srv/backup/away")
        failed = web.run(f"{FIGURES} verify", check=False)
        assert (failed.returncode, "only snapshot" in failed.stderr) == (1, True), failed.stderr
        assert web.value("mendbook_backup_valid", 9100, kind="files") == 0
    finally:
        store.run(f"mv /srv/backup/away {pack}", check=False)
        web.run(
            "rm -f /srv/ledger/www/noise; rm -rf /var/cache/mendbook/restic; systemctl start files-verify", check=False
        )
    until(lambda: web.value("mendbook_backup_valid", 9100, kind="files") == 1)


def test_the_key_of_the_store_opens_nothing_but_file_transfer(nodes: dict[str, Node]) -> None:
    tried = nodes["web1"].run("timeout 20 ssh lab-files id </dev/null", check=False)
    assert "uid=" not in tried.stdout
    assert nodes["web1"].run("echo ls | sftp -b - lab-files").returncode == 0
