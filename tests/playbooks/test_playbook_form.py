"""What holds for every shipped playbook and role: form, declared inputs, documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_run import PLAYBOOKS, ROOT

# The lab's site is no remedy: it names its groups itself, and its roles make what remedies mend.
NAMES = sorted(path.stem for path in PLAYBOOKS.glob("*.yml") if path.stem != "lab")
ROLES = sorted(path.name for path in (PLAYBOOKS / "roles").iterdir())
SITE_ROLES = {role for role in ROLES if role.startswith("lab_")}
SHARED = {"mendbook_attempt", "service_manager", "lab_socket", "mendbook_all"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    declared = read(PLAYBOOKS / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert isinstance(declared, dict)
    return declared


@pytest.mark.parametrize("name", NAMES)
def test_a_playbook_is_one_role_on_hosts_chosen_by_limit(name: str) -> None:
    (one,) = read(PLAYBOOKS / f"{name}.yml")
    assert (one["hosts"], one["gather_facts"], len(one["roles"])) == ("all", False, 1)
    assert set(one) - {"serial", "max_fail_percentage"} == {"name", "hosts", "gather_facts", "roles"}
    assert one["roles"][0]["role"] in ROLES


@pytest.mark.parametrize("role", [role for role in ROLES if role != "preflight" and role not in SITE_ROLES])
def test_every_role_begins_with_the_preflight(role: str) -> None:
    before, *others = read(PLAYBOOKS / "roles" / role / "meta" / "main.yml")["dependencies"]
    assert all(other == {"role": "lab_kit"} for other in others), "what carries modules alone may follow it, no other"
    if before != {"role": "preflight"}:  # a family's own beginning, which begins with it
        assert role.startswith(f"{before['role']}_")
        test_every_role_begins_with_the_preflight(before["role"])


@pytest.mark.parametrize("role", ROLES)
def test_every_input_is_described_and_its_default_is_the_one_in_force(role: str) -> None:
    defaults = PLAYBOOKS / "roles" / role / "defaults" / "main.yml"
    text = defaults.read_text() if defaults.exists() else ""
    for name, option in options(role).items():
        assert option["description"]
        if "default" in option and name not in SHARED and f"{{{{ {name} | default(" in text:
            given = text.split(f"{{{{ {name} | default(", 1)[1].split(")", 1)[0]
            assert yaml.safe_load(given.split(" if ")[0]) == option["default"], name


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_tells_each_playbook_and_its_variables(name: str) -> None:
    readme = (PLAYBOOKS / "README.md").read_text(encoding="utf-8")
    assert f"`{name}.yml`" in readme
    (one,) = read(PLAYBOOKS / f"{name}.yml")
    told = one["roles"][0].get("vars", {})
    for option in options(one["roles"][0]["role"]):
        assert option in told or f"`{option}`" in readme, option


def test_the_site_acts_on_the_labs_groups_alone_by_roles_that_ship() -> None:
    plays = read(PLAYBOOKS / "lab.yml")
    assert {group for play in plays for group in play["hosts"].split(":")} <= {"lab", "balancers", "web", "db", "spare"}
    assert {role["role"] for play in plays for role in play["roles"]} <= set(ROLES)


@pytest.mark.e2e
def test_the_playbooks_pass_the_strictest_profile_of_ansible_lint() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-lint"), "--profile", "production", "playbooks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.e2e
def test_the_example_inventory_is_read_by_ansible() -> None:
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", "inventory", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    listed = yaml.safe_load(done.stdout)
    managers = {known["service_manager"] for known in listed["_meta"]["hostvars"].values()}
    assert managers == {"systemd"}
    assert {"web", "store", "balancer"} <= set(listed)
