"""Disks of a real node: rotated logs go, grown logs are cut where there is no room, deleted files are let go of, data stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab

# It holds a deleted file once: started again, it does not.
HOLDER = r"""
import os, signal
held = open('/var/log/mb-trace.log', 'wb')
if not os.path.exists('/run/mb-held'):
    os.posix_fallocate(held.fileno(), 0, 40 << 20); os.close(os.open('/run/mb-held', os.O_CREAT))
os.unlink(held.name)
if {reloads}:
    signal.signal(signal.SIGHUP, lambda *_: held.close())
while True:
    signal.pause()
"""
UNIT = "[Service]\\nExecStart=/usr/bin/python3 /run/mb-holder.py\\nExecReload=/bin/kill -HUP \\$MAINPID\\n"


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node, left as it was."""
    (one,) = nodes("web1")
    yield one
    one.sh(
        "systemctl stop mb-holder.service 2>/dev/null; rm -rf /etc/systemd/system/mb-holder.service /run/mb-holder.py /run/mb-held /var/log/mb-*; "
        "pkill -9 -f '^/usr/bin/python3 /run/mb-holder' ; systemctl daemon-reload; true"
    )


def used(node: Node) -> int:
    """Return the mebibytes that /var/log has in use."""
    return int(node.sh("df --output=used -BM /var/log | tail -n 1").strip(" M"))


def hold(node: Node, *, reloads: bool, unit: bool) -> None:
    node.sh(f"cat > /run/mb-holder.py <<'END'\n{HOLDER.format(reloads=reloads)}\nEND")
    if unit:
        lines = UNIT if reloads else UNIT.split("ExecReload", maxsplit=1)[0]
        node.sh(
            f'printf "{lines}" > /etc/systemd/system/mb-holder.service; systemctl daemon-reload; systemctl start mb-holder.service; sleep 1'
        )
    else:
        node.sh("setsid --fork /usr/bin/python3 /run/mb-holder.py </dev/null >/dev/null 2>&1; sleep 1")


def test_rotated_logs_go_and_the_log_itself_stays(node: Node) -> None:
    before = used(node)
    node.sh("fallocate -l 40M /var/log/mb-app.log.1; echo line > /var/log/mb-app.log")
    runs = node.run_thrice(
        "space_clear",
        space_paths=["/var/log/"],
        space_patterns=["mb-*.1"],
        space_min_age="0",
        space_mountpoint="/var/log",
    )
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("ls -d /var/log/mb-*") == "/var/log/mb-app.log"
    assert used(node) <= before + 1


def test_paths_on_other_file_systems_are_left_alone(node: Node) -> None:
    node.sh("echo old > /var/log/mb-app.log.1")
    run = node.run(
        "space_clear", space_paths=["/var/log/"], space_patterns=["mb-*.1"], space_min_age="0", space_mountpoint="/srv"
    )
    assert (run.changed, run.failed) == (0, 0)


def test_a_log_without_room_for_its_copy_is_cut_and_its_end_kept(node: Node) -> None:
    node.sh(
        "dd if=/dev/urandom of=/var/log/mb-app.log bs=1M 2>/dev/null; echo the end >> /var/log/mb-app.log; df /var/log | tail -1",
        check=False,
    )
    runs = node.run_thrice(
        "log_rotate", log_paths=["/var/log"], log_patterns=["mb-*.log"], log_max_size="8M", log_cut=True
    )
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("stat -c %s /var/log/mb-app.log") == "0"
    assert 0 < int(node.sh("zcat /var/log/mb-app.log.1.gz | wc -c")) <= 1 << 20


@pytest.mark.parametrize("reloads", [True, False])
def test_a_service_lets_go_of_a_deleted_file(node: Node, reloads: bool) -> None:
    before = used(node)
    hold(node, reloads=reloads, unit=True)
    process = node.sh("systemctl show -p MainPID --value mb-holder.service")
    assert used(node) >= before + 39
    runs = node.run_thrice("disk_reopen", disk_mountpoint="/var/log")
    assert [(run.changed > 0, run.failed) for run in runs] == [(True, 0), (True, 0), (False, 0)]
    assert used(node) <= before + 1
    assert (node.sh("systemctl show -p MainPID --value mb-holder.service") == process) is reloads


def test_a_process_that_is_no_service_and_holds_a_deleted_file_is_ended(node: Node) -> None:
    before = used(node)
    hold(node, reloads=False, unit=False)
    runs = node.run_thrice("disk_reopen", disk_mountpoint="/var/log")
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert used(node) <= before + 1
