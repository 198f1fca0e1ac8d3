"""Services on real nodes: what hangs, crashes or has a broken configuration is up again, and nothing is restarted twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes, wait_until

pytestmark = pytest.mark.lab

UNIT = "mb-trial.service"
PAGE = "http://127.0.0.1:8765/"
SERVICE = f"""cat >/etc/systemd/system/{UNIT} <<'X'
[Service]
ExecStartPre=/bin/sh -c '! grep -q broken /srv/mb-trial/app.conf'
ExecStart=/usr/bin/python3 -m http.server 8765 --bind 127.0.0.1 --directory /srv/mb-trial
TimeoutStopSec=5
X
mkdir -p /srv/mb-trial && echo fine >/srv/mb-trial/app.conf && echo fine >/srv/mb-trial/good.conf
systemctl daemon-reload && systemctl restart {UNIT}"""
CONFIGS = {
    UNIT: {
        "path": "/srv/mb-trial/app.conf",
        "good": "/srv/mb-trial/good.conf",
        "check": ["sh", "-c", "! grep -q broken %s"],
    }
}


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node with a small service of our own, which goes when the test ends."""
    (one,) = nodes("web2")
    one.sh(SERVICE)
    wait_until(lambda: answers(one))
    yield one
    one.sh(
        f"systemctl kill -s KILL {UNIT}; systemctl stop {UNIT}; systemctl reset-failed {UNIT};"
        f" rm -rf /etc/systemd/system/{UNIT} /srv/mb-trial; systemctl daemon-reload; true"
    )


def answers(node: Node) -> bool:
    script = f"import urllib.request as r; r.urlopen('{PAGE}', timeout=1)"
    return node.sh(f'python3 -c "{script}" 2>/dev/null && echo yes || echo no') == "yes"


def started(node: Node) -> str:
    return node.sh(f"systemctl show -p MainPID,ActiveState,ExecMainStartTimestampMonotonic {UNIT}")


@pytest.mark.parametrize("trouble", ["KILL", "STOP"])
def test_a_service_that_is_gone_or_hangs_is_restarted_once(node: Node, trouble: str) -> None:
    node.sh(f"systemctl kill -s {trouble} {UNIT}")
    wait_until(lambda: not answers(node))
    known: dict[str, object] = {"service": UNIT, "service_health_url": PAGE, "mendbook_attempt": str(uuid.uuid4())}
    checked = node.run("service_restart", "--check", **known)
    assert (checked.changed, checked.failed) == (1, 0)
    assert not answers(node)
    done = node.run("service_restart", **known)
    assert (done.changed, done.failed) == (1, 0)
    assert answers(node)
    before = started(node)
    again = node.run("service_restart", **known)
    assert (again.changed, again.failed) == (0, 0)
    assert started(node) == before


def test_a_service_that_systemd_gave_up_on_is_started_again(node: Node) -> None:
    node.sh("echo broken >/srv/mb-trial/app.conf")
    node.sh(f"for each in 1 2 3 4 5 6 7; do systemctl restart {UNIT}; done; true", check=False)
    node.sh("echo fine >/srv/mb-trial/app.conf")
    done = node.run("service_restart", service=UNIT, service_health_url=PAGE)
    assert (done.changed, done.failed) == (1, 0)
    assert answers(node)


def test_a_service_that_crashes_at_once_is_not_called_restarted(node: Node) -> None:
    node.sh("echo broken >/srv/mb-trial/app.conf")
    done = node.run("service_restart", service=UNIT, service_wait=2)
    assert done.failed == 1


def test_the_last_configuration_that_worked_is_put_back_and_the_broken_one_set_aside(node: Node) -> None:
    node.sh("echo broken >/srv/mb-trial/app.conf; chmod 640 /srv/mb-trial/app.conf")
    node.sh(f"systemctl restart {UNIT}", check=False)
    attempt = str(uuid.uuid4())
    known: dict[str, object] = {"service": UNIT, "service_configs": CONFIGS, "mendbook_attempt": attempt}
    checked = node.run("config_restore", "--check", "--diff", **known)
    assert checked.failed == 0
    assert "-broken" in checked.output
    assert node.sh("cat /srv/mb-trial/app.conf") == "broken"
    done = node.run("config_restore", **known)
    assert done.failed == 0
    wait_until(lambda: answers(node))
    kept = f"/srv/mb-trial/app.conf.aside-{attempt}"
    assert node.sh(f"cat /srv/mb-trial/app.conf {kept}; stat -c %a /srv/mb-trial/app.conf") == "fine\nbroken\n640"
    before = started(node)
    again = node.run("config_restore", **known)
    assert (again.changed, again.failed) == (0, 0)
    assert started(node) == before


def test_a_changed_configuration_that_passes_its_check_is_left_alone(node: Node) -> None:
    node.sh("echo newer >/srv/mb-trial/app.conf")
    done = node.run("config_restore", service=UNIT, service_configs=CONFIGS)
    assert (done.changed, done.failed) == (0, 0)
    assert "passes its check" in done.output
    assert node.sh("cat /srv/mb-trial/app.conf") == "newer"


def test_no_configuration_is_touched_when_the_good_one_is_broken_too(node: Node) -> None:
    node.sh("echo broken >/srv/mb-trial/app.conf; echo broken twice >/srv/mb-trial/good.conf")
    done = node.run("config_restore", service=UNIT, service_configs=CONFIGS)
    assert done.failed == 1
    assert "nothing was touched" in done.output
    assert node.sh("cat /srv/mb-trial/app.conf; ls /srv/mb-trial") == "broken\napp.conf\ngood.conf"
