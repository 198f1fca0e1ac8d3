"""What metrics say never chooses the hosts of a step, except by naming one exactly."""

from __future__ import annotations

import pytest

from engine.app import App
from engine.app.declarations import Declarations
from engine.model.decision import Preparation
from engine.model.incident import Alert, AlertState, Incident, IncidentState
from engine.model.labels import Labels
from engine.model.runbook import Remedy, Step

HOSTS = "all: {vars: {balancer: web-2}, children: {web: {hosts: {web-1: {}, web-2: {}, web-3: {}}}}}\n"
SETTINGS = "sources: {host: false}\ninventory: hosts.yml\nrunbooks: runbooks\nplaybooks: playbooks\n"
RUNBOOK = """\
runbook: any
summary: Any.
params: {peers: "web:!web-1"}
trigger: {alert: Any, expr: any > 0}
localize: {resource: disk}
remedies: [{name: Any, playbook: any.yml}]
verify: {expr: any == 0}
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declarations:
    """What a project of three hosts declares."""
    root = tmp_path_factory.mktemp("project")
    (root / "runbooks").mkdir()
    (root / "playbooks").mkdir()
    (root / "mendbook.yml").write_text(SETTINGS)
    (root / "hosts.yml").write_text(HOSTS)
    (root / "runbooks" / "any.yml").write_text(RUNBOOK)
    (root / "playbooks" / "any.yml").write_text("- {name: Any, hosts: all, tasks: []}\n")
    return App.open(root).declarations


def prepare(declared: Declarations, pattern: str, label: str) -> Preparation:
    """Prepare a step on these hosts for an alert, and a culprit, that say this."""
    (runbook,) = declared.loaded.runbooks
    labels = Labels({"instance": "web-1", "peer": label})
    alert = Alert(
        fingerprint="a", runbook="any", name="Any", labels=labels, target="web-1", state=AlertState.FIRING, value=1.0,
        active_since=0.0, last_true=0.0, last_seen=0.0,
    )  # fmt: skip
    incident = Incident(
        id="inc",
        target="web-1",
        resource="disk",
        state=IncidentState.OPEN,
        opened_at=0.0,
        first_active=0.0,
        culprit=label,
    )
    return declared.prepare(runbook, Remedy("Any", (Step("any.yml", hosts=pattern),)), incident, alert)


@pytest.mark.parametrize(
    "label", ["all", "*", "~.*", "web", "web-1,web-2", "!web-1", "web-1:web-2", "@hosts.yml", "", "no"]
)
@pytest.mark.parametrize("pattern", ["{{ alert.labels.peer }}", "{{ fault.culprit }}", "web-1,{{ fault.culprit }}"])
def test_a_label_that_is_no_hosts_name_is_refused_as_one(declared: Declarations, pattern: str, label: str) -> None:
    prepared = prepare(declared, pattern, label)
    assert prepared.steps == ()
    assert prepared.refusal is not None
    assert "exact name" in prepared.refusal


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("{{ alert.labels.peer }}", ("web-3",)),
        ("{{ fault.culprit }}", ("web-3",)),
        ("{{ target }}", ("web-1",)),
        ("{{ host.balancer }}", ("web-2",)),
        ("{{ peers }}", ("web-2", "web-3")),
        ("web:!{{ target }}", ("web-2", "web-3")),
    ],
)
def test_names_and_what_people_wrote_choose_hosts(declared: Declarations, pattern: str, hosts: tuple[str, ...]) -> None:
    (step,) = prepare(declared, pattern, "web-3").steps
    assert step.hosts == hosts
