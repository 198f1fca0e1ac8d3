"""A certificate of a real node that ends soon is renewed by the node's own command, and the service is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab

MAKE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=mb -days {days}"
    " -keyout /run/mb-certificate/key -out /run/mb-certificate/pem 2>/dev/null"
)
UNIT = '[Service]\\nExecStart=/bin/sleep 1000\\nExecReload=/bin/sh -c \\"echo told >> /run/mb-certificate/reloads\\"\\n'


@pytest.fixture
def node() -> Iterator[Node]:
    """A node with a certificate that ends tomorrow, a command that renews it, and a service that serves it."""
    (one,) = nodes("lb")
    one.sh(
        f"mkdir -p /run/mb-certificate; {MAKE.format(days=1)}; "
        f"printf '#!/bin/sh\\n{MAKE.format(days=90)}\\n' > /run/mb-certificate/renew; "
        f'printf "{UNIT}" > /etc/systemd/system/mb-serve.service; systemctl daemon-reload; systemctl start mb-serve.service'
    )
    yield one
    one.sh(
        "systemctl stop mb-serve.service; rm -rf /run/mb-certificate /etc/systemd/system/mb-serve.service; systemctl daemon-reload"
    )


def variables(command: str) -> dict[str, object]:
    return {
        "certificate_path": "/run/mb-certificate/pem",
        "certificate_command": ["/bin/sh", "-c", command],
        "certificate_service": "mb-serve.service",
    }


def lasts(node: Node, days: int) -> bool:
    return "will not" in node.sh(f"openssl x509 -noout -checkend {days * 86400} -in /run/mb-certificate/pem; true")


def test_it_is_renewed_once_and_the_service_is_told(node: Node) -> None:
    runs = node.run_thrice("certificate_renew", **variables("sh /run/mb-certificate/renew"))
    assert [(run.changed > 0, run.failed) for run in runs] == [(True, 0), (True, 0), (False, 0)]
    assert lasts(node, 80)
    assert node.sh("cat /run/mb-certificate/reloads") == "told"
    assert node.sh("ls -A /run/mb-certificate").split() == ["key", "pem", "reloads", "renew"]


@pytest.mark.parametrize("command", ["exit 1", "true", "echo broken > /run/mb-certificate/pem"])
def test_a_command_that_brings_no_lasting_one_leaves_the_old_one(node: Node, command: str) -> None:
    before = node.sh("cat /run/mb-certificate/pem")
    refused = node.run("certificate_renew", **variables(command))
    assert refused.failed == 1
    assert "the old one is in place" in refused.output
    assert node.sh("cat /run/mb-certificate/pem") == before
    assert not lasts(node, 30)
    assert "reloads" not in node.sh("ls -A /run/mb-certificate")
