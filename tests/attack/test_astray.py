"""A run by hand goes to the host that it names, which is the one that is locked, paused and counted."""

from __future__ import annotations

import json

import pytest

from engine.model.standing import Request
from tests.fakes.world import House, runbook


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("ansible_host", False),
        ("ansible_ssh_host", False),
        ("ansible_port", False),
        ("ansible_connection", False),
        ("ansible_ssh_common_args", False),
        ("ansible_ssh_extra_args", False),
        ("ansible_ssh_executable", False),
        ("ansible_docker_host", False),
        ("ansible_limit", False),
        ("inventory_hostname", False),
        ("mendbook_attempt", False),
        ("ansible_user", True),
        ("ansible_become", True),
        ("ansible_become_password", True),
        ("service", True),
        ("host", True),
        ("mendbook_all", True),
    ],
)
def test_a_variable_by_hand_does_not_send_a_run_to_another_host(name: str, runs: bool) -> None:
    house = House(runbook(), automatic=False)
    request = Request("r1", "run", "ann", "", house.clock.wall(), "web-down", ("web-1",), vars={name: "web-2"})
    house.records.request(request)
    house.run(2)
    assert bool(house.executor.started) is runs
    (answer,) = json.loads((house.records.request_state("r1") or ("", "[]"))[1])
    assert answer.get("codes") == (None if runs else ["variables"])
