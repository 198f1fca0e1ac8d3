"""Inodes of a real node: folders with very many old files are cleaned, others are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node with very many files in one folder of /var/log, and few in another."""
    (one,) = nodes("web1")
    one.sh(
        "mkdir -p /var/log/mb-inodes/many /var/log/mb-inodes/few; cd /var/log/mb-inodes; seq 2000 | sed s,^,many/, | xargs touch -d '2 days ago';"
        " touch -d '2 days ago' few/a few/b many/kept.db; touch many/young"
    )
    yield one
    one.sh("rm -rf /var/log/mb-inodes")


def test_old_files_go_where_there_are_very_many(node: Node) -> None:
    runs = node.run_thrice("inode_clear", inode_paths=["/var/log/mb-inodes"], inode_mountpoint="/var/log")
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("cd /var/log/mb-inodes; find . -type f | sort").split() == [
        "./few/a",
        "./few/b",
        "./many/kept.db",
        "./many/young",
    ]


def test_folders_of_data_are_refused(node: Node) -> None:
    refused = node.run("inode_clear", inode_paths=["/var/log/mb-inodes"], space_protected=["/var/log/mb-inodes/many"])
    assert (refused.changed, refused.failed) == (0, 1)
    assert "nothing was removed" in refused.output
