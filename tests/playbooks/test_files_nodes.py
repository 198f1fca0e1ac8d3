"""Files from restic on a real node: the newest snapshot that verifies, the old folder set aside, once for an attempt."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab

ROOT = "/srv/mb-files"
ENVIRONMENT = (
    f"export RESTIC_REPOSITORY={ROOT}/repository RESTIC_PASSWORD_FILE={ROOT}/password RESTIC_CACHE_DIR={ROOT}/cache"
)
SNAPSHOT = f"""{ENVIRONMENT}
cd {ROOT}/www && sha256sum $(find . -type f -printf '%P\\n') >{ROOT}/SHA256SUMS
restic --quiet backup --tag trial {ROOT}/www {ROOT}/SHA256SUMS"""
PREPARED = f"""set -e; rm -rf {ROOT}; mkdir -p {ROOT}/www/deep; echo secret >{ROOT}/password
echo one >{ROOT}/www/page; head -c 300000 /dev/urandom >{ROOT}/www/deep/blob; chmod 600 {ROOT}/www/page; chown www-data {ROOT}/www/page
{ENVIRONMENT}; restic --quiet init; {SNAPSHOT}"""


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node with a folder that has a backup of its own; it goes when the test ends."""
    (one,) = nodes("web2")
    one.sh(PREPARED)
    yield one
    one.sh(f"rm -rf {ROOT}")


def variables(**more: object) -> dict[str, object]:
    known = {"files_repository": f"{ROOT}/repository", "files_password_file": f"{ROOT}/password", "files_tag": "trial"}
    return {
        "files_path": f"{ROOT}/www",
        "files_sums": f"{ROOT}/SHA256SUMS",
        "files_cache": f"{ROOT}/cache",
        **known,
        **more,
    }


def tree(node: Node) -> str:
    return node.sh(f"cd {ROOT}/www && find . -type f -printf '%P %m %u ' -exec sha256sum '{{}}' ';' | sort")


def test_a_lost_folder_is_restored_as_it_was_and_once(node: Node) -> None:
    before = tree(node)
    assert node.run("files_restore", **variables()).changed == 0, "nothing was lost yet"
    node.sh(f"rm -rf {ROOT}/www")
    known = variables(mendbook_attempt=str(uuid.uuid4()))
    checked = node.run("files_restore", "--check", **known)
    assert (checked.changed, checked.failed) == (1, 0)
    assert "only restoring tells whether it verifies" in checked.output
    assert node.sh(f"ls -d {ROOT}/www", check=False) == ""
    done = node.run("files_restore", **known)
    assert (done.changed, done.failed) == (1, 0)
    assert tree(node) == before
    node.sh(f"rm {ROOT}/www/page")
    again = node.run("files_restore", **known)
    assert (again.changed, again.failed) == (0, 0)
    assert node.sh(f"ls {ROOT}/www") == "deep"


def test_what_is_left_of_the_old_folder_is_set_aside(node: Node) -> None:
    before = tree(node)
    node.sh(f"rm -rf {ROOT}/www/deep; echo new >{ROOT}/www/since")
    done = node.run("files_restore", **variables(mendbook_attempt="att-1"))
    assert (done.changed, done.failed) == (1, 0)
    assert tree(node) == before
    assert node.sh(f"cat {ROOT}/www.aside/att-1/www/since {ROOT}/www.aside/att-1/www/page") == "new\none"


def test_a_newer_snapshot_that_is_damaged_is_passed_over(node: Node) -> None:
    before = tree(node)
    found = f"find {ROOT}/repository/data -type f | sort"
    old = node.sh(found)
    node.sh(f"head -c 300000 /dev/urandom >{ROOT}/www/deep/later; {SNAPSHOT}")
    fresh = sorted(set(node.sh(found).splitlines()) - set(old.splitlines()))
    node.sh(
        "; ".join(
            f"chmod u+w {pack} && printf damaged | dd of={pack} bs=1 seek=1000 conv=notrunc 2>/dev/null"
            for pack in fresh
        )
    )
    node.sh(f"rm -rf {ROOT}/www {ROOT}/cache")
    done = node.run("files_restore", **variables())
    assert (done.changed, done.failed) == (1, 0), done.output
    assert tree(node) == before


def test_without_a_snapshot_that_verifies_nothing_is_touched(node: Node) -> None:
    node.sh(
        f"for pack in $(find {ROOT}/repository/data -type f); do chmod u+w $pack; printf damaged | dd of=$pack bs=1 seek=200 conv=notrunc 2>/dev/null; done"
    )
    node.sh(f"rm -rf {ROOT}/www/deep {ROOT}/cache")
    refused = node.run("files_restore", **variables())
    assert (refused.changed, refused.failed) == (0, 1)
    assert "the folder is as it was" in refused.output or "cannot be read" in refused.output
    assert node.sh(f"cat {ROOT}/www/page; ls {ROOT}; true").splitlines()[0] == "one"
    assert ".restoring" not in node.sh(f"ls -A {ROOT}")
