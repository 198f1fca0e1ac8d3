"""A file system of a real node that turned read-only is remounted once, unless it is meant to be so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node whose /srv takes no writes."""
    (one,) = nodes("web1")
    one.sh("mount -o remount,bind,ro /srv; ! touch /srv/mb-probe 2>/dev/null")
    yield one
    one.sh("mount -o remount,bind,rw /srv; sed -i '/mb-test/d' /etc/fstab; rm -f /srv/mb-probe")


def test_it_is_remounted_once_and_takes_writes(node: Node) -> None:
    runs = node.run_thrice("filesystem_remount", filesystem_mountpoint="/srv")
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    node.sh("touch /srv/mb-probe")


def test_one_that_is_meant_to_be_read_only_stays_so(node: Node) -> None:
    node.sh("echo '/dev/mb-test /srv ext4 ro 0 0' >> /etc/fstab")
    refused = node.run("filesystem_remount", filesystem_mountpoint="/srv")
    assert (refused.changed, refused.failed) == (0, 1)
    assert "/etc/fstab says that it is read-only" in refused.output


def test_what_is_no_mount_point_is_refused(node: Node) -> None:
    refused = node.run("filesystem_remount", filesystem_mountpoint="/srv/nothing")
    assert (refused.changed, refused.failed) == (0, 1)
