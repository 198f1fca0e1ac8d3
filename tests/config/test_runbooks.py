from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.config.document import parse_document
from engine.config.errors import ConfigError, Problem, Severity
from engine.config.project import Layers
from engine.config.runbooks import Loaded, load_runbooks
from engine.config.settings import Settings
from engine.model.runbook import (
    Condition,
    Guards,
    Localization,
    MinHealthy,
    Mode,
    Purpose,
    Remedy,
    Scope,
    Step,
    Trigger,
    Verify,
)
from engine.model.target import Fleet, Target

WHOLE = """\
# yaml-language-server: $schema=../engine/config/runbook.schema.json
runbook: service-memory-leak
summary: A service leaks memory; restart it before the kernel kills something else.
purpose: prevention
mode: auto
priority: 10
params:
  window: 30m
  horizon: 1h
  settle: 5m
  attempts: 2
  healthy: 50%
trigger:
  alert: NodeMemoryExhaustionPredicted
  expr: predict_linear(node_memory_MemAvailable_bytes[{{ window }}], {{ horizon | seconds }}) < 0
  for: "{{ settle }}"
  keep_firing_for: 2m
  labels: {severity: warning, horizon: "{{ horizon }}"}
  annotations: {summary: "{{ $labels.instance }} has {{ $value | humanize }}B in {{ horizon }}"}
localize:
  resource: memory
  culprit: {expr: "topk by (instance) (1, deriv(process_resident_memory_bytes[{{ window }}]))", label: groupname}
guards:
  cooldown: 30m
  max_attempts: "{{ attempts }}"
  min_healthy: {group: web, at_least: "{{ healthy }}"}
  max_per_hour: 6
  max_concurrent: 1
  require:
    - time() - mendbook_backup_verified_timestamp_seconds < 86400
    - {expr: sum(up) > 2, scope: fleet}
remedies:
  - name: Restart the leaking service
    playbook: restart.yml
    vars: {service: "{{ fault.culprit }}", window: "{{ window }}", limits: [1, "{{ host.limit }}"]}
    timeout: 2m
  - name: Reboot the node
    destructive: true
    steps:
      - {playbook: drain.yml, hosts: lb, vars: {node: "{{ target }}"}}
      - {playbook: sub/reboot.yml, timeout: 10m}
    finally:
      - {playbook: drain.yml, hosts: lb}
verify:
  expr: node_memory_MemAvailable_bytes offset 2h > 2e9
  for: 1m
  within: 10m
"""
SMALL = """\
runbook: {name}
summary: A disk is full.
params: {{short: 0.1, settle: 2m}}
trigger: {{alert: DiskFull, expr: "node_filesystem_avail_bytes < {{{{ short }}}}", for: "{{{{ settle }}}}"}}
localize: {{resource: disk}}
remedies: [{{name: Clear, playbook: restart.yml}}]
verify: {{expr: node_filesystem_avail_bytes > 1e9}}
"""


class Project:
    """A folder with runbooks and playbooks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "playbooks" / "sub").mkdir(parents=True)
        (root / "runbooks").mkdir()
        for name in ("restart.yml", "drain.yml", "sub/reboot.yml"):
            (root / "playbooks" / name).write_text("- hosts: all\n")

    def write(self, **runbooks: str) -> None:
        for name, text in runbooks.items():
            (self.root / "runbooks" / f"{name}.yml").write_text(text)

    def load(self, *, fleet: Fleet | None = None, **settings: object) -> Loaded:
        made = Settings(root=self.root, playbooks=(self.root / "playbooks",), **settings)  # type: ignore[arg-type]
        return load_runbooks([self.root / "runbooks"], fleet=fleet or Fleet(), settings=made)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def fleet(**groups: Sequence[str]) -> Fleet:
    names = {name for members in groups.values() for name in members}
    return Fleet(
        {
            name: Target(name, frozenset(group for group, members in groups.items() if name in members))
            for name in sorted(names)
        }
    )


def codes(problems: Sequence[Problem]) -> list[str]:
    return [problem.code for problem in problems]


def test_every_key_of_a_runbook_arrives(project: Project) -> None:
    project.write(leak=WHOLE)
    loaded = project.load()
    assert loaded.problems == ()
    (runbook,) = loaded.runbooks
    assert (runbook.name, runbook.purpose, runbook.mode, runbook.priority) == (
        "service-memory-leak",
        Purpose.PREVENTION,
        Mode.AUTO,
        10,
    )
    assert runbook.trigger == Trigger(
        "NodeMemoryExhaustionPredicted",
        "predict_linear(node_memory_MemAvailable_bytes[30m], 3600) < 0",
        300.0,
        120.0,
        {"severity": "warning", "horizon": "1h"},
        {"summary": "{{ $labels.instance }} has {{ $value | humanize }}B in 1h"},
        Scope.TARGET,
    )
    assert runbook.localize == Localization(
        "memory", "topk by (instance) (1, deriv(process_resident_memory_bytes[30m]))", "groupname"
    )
    assert runbook.guards == Guards(
        cooldown=1800.0,
        max_attempts=2,
        min_healthy=MinHealthy("web", 0.5, share=True),
        max_per_hour=6,
        max_concurrent=1,
        require=(
            Condition("time() - mendbook_backup_verified_timestamp_seconds < 86400"),
            Condition("sum(up) > 2", Scope.FLEET),
        ),
    )
    service = {"service": "{{ fault.culprit }}", "window": "{{ window }}", "limits": (1, "{{ host.limit }}")}
    assert runbook.remedies == (
        Remedy("Restart the leaking service", (Step("restart.yml", None, service, 120.0),)),
        Remedy(
            "Reboot the node",
            (Step("drain.yml", "lb", {"node": "{{ target }}"}), Step("sub/reboot.yml", timeout=600.0)),
            (Step("drain.yml", "lb"),),
            destructive=True,
        ),
    )
    assert runbook.verify == Verify("node_memory_MemAvailable_bytes offset 2h > 2e9", 60.0, 600.0)
    assert runbook.longest_range == 7200.0
    assert runbook.params["window"] == "30m"
    assert str(runbook.place) == "runbooks/leak.yml:2:1"
    assert runbook.hosts is None


def test_without_a_mode_a_runbook_only_says_what_it_would_do(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    (runbook,) = project.load().runbooks
    assert runbook.mode is Mode.SHADOW


def test_a_broken_file_does_not_keep_the_others_from_loading(project: Project) -> None:
    project.write(a=SMALL.format(name="a"), b="runbook: b\n", c="]", d=SMALL.format(name="d"))
    loaded = project.load()
    assert [runbook.name for runbook in loaded.runbooks] == ["a", "d"]
    assert {problem.place.file for problem in loaded.problems if problem.place} == {"runbooks/b.yml", "runbooks/c.yml"}
    with pytest.raises(ConfigError) as caught:
        loaded.checked()
    assert caught.value.problems == loaded.problems


def test_a_name_belongs_to_one_file(project: Project) -> None:
    project.write(a=SMALL.format(name="same"), b=SMALL.format(name="same"))
    loaded = project.load()
    assert len(loaded.runbooks) == 1
    (problem,) = loaded.problems
    assert problem.code == "duplicate-name"
    assert "runbooks/a.yml:1:10" in problem.message
    assert str(problem.place) == "runbooks/b.yml:1:10"


def test_a_file_that_is_named_beside_its_folder_is_read_once(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    settings = Settings(root=project.root, playbooks=(project.root / "playbooks",))
    folder = project.root / "runbooks"
    loaded = load_runbooks([folder, folder / "disk.yml", Path("runbooks/disk.yml")], fleet=Fleet(), settings=settings)
    assert (len(loaded.runbooks), loaded.problems) == (1, ())


def test_a_folder_that_is_not_there_is_a_problem(project: Project) -> None:
    settings = Settings(root=project.root)
    loaded = load_runbooks([Path("nowhere")], fleet=Fleet(), settings=settings)
    assert codes(loaded.problems) == ["unreadable"]


def test_a_playbook_cannot_be_reached_through_a_link_that_leaves_its_folder(project: Project) -> None:
    (project.root / "outside.yml").write_text("- hosts: all\n")
    (project.root / "playbooks" / "restart.yml").unlink()
    (project.root / "playbooks" / "restart.yml").symlink_to(project.root / "outside.yml")
    project.write(disk=SMALL.format(name="disk"))
    assert codes(project.load().problems) == ["missing-playbook"]


def test_overrides_make_one_variant_for_each_distinct_set(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    params = {"disk": Layers({"settle": "3m"}, {"db": {"short": 0.2}}, {"db2": {"short": 0.3}})}
    everyone = fleet(web=["web1", "web2"], db=["db1", "db2", "db3"])
    loaded = project.load(fleet=everyone, params=params)
    assert loaded.problems == ()
    assert {
        tuple(sorted(runbook.hosts or ())): (runbook.trigger.expr, runbook.trigger.for_) for runbook in loaded.runbooks
    } == {
        ("db1", "db3"): ("node_filesystem_avail_bytes < 0.2", 180.0),
        ("db2",): ("node_filesystem_avail_bytes < 0.3", 180.0),
        ("web1", "web2"): ("node_filesystem_avail_bytes < 0.1", 180.0),
    }
    assert len({runbook.digest for runbook in loaded.runbooks}) == 1


def test_when_all_hosts_get_the_same_there_is_one_variant_for_all(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    params = {"disk": Layers({"short": 0.4}, {"web": {"short": 0.5}})}
    (runbook,) = project.load(fleet=fleet(web=["a", "b"]), params=params).runbooks
    assert runbook.hosts is None
    assert runbook.trigger.expr.endswith("< 0.5")


def test_modes_are_raised_and_lowered_by_group_and_host(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    modes = {"disk": Layers(Mode.AUTO, {"db": Mode.APPROVE, "prod": Mode.AUTO}, {"db2": Mode.SHADOW})}
    loaded = project.load(fleet=fleet(web=["web1"], db=["db1", "db2"], prod=["db1"]), modes=modes)
    assert {name: runbook.mode for runbook in loaded.runbooks for name in runbook.hosts or ()} == {
        "web1": Mode.AUTO,
        "db1": Mode.APPROVE,
        "db2": Mode.SHADOW,
    }


def test_two_groups_that_disagree_need_a_word_for_the_host(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    groups = {"a": {"short": 0.2}, "b": {"short": 0.3}}
    hosts = fleet(a=["x"], b=["x"])
    assert codes(project.load(fleet=hosts, params={"disk": Layers(None, groups)}).problems) == ["ambiguous"]
    said = project.load(fleet=hosts, params={"disk": Layers(None, groups, {"x": {"short": 0.4}})})
    assert said.problems == ()
    assert said.runbooks[0].params["short"] == 0.4


def test_overrides_of_what_does_not_exist_are_told_in_the_settings(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    document = parse_document(
        "mendbook.yml", "params:\n  dsk: {all: {short: 1}}\n  disk: {all: {shrt: 1}, groups: {wbe: {short: 1}}}\n"
    )
    params = {"dsk": Layers({"short": 1}), "disk": Layers({"shrt": 1}, {"wbe": {"short": 1}})}
    loaded = project.load(fleet=fleet(web=["a"]), params=params, document=document)
    told = [(str(problem.place), problem.severity, problem.fix) for problem in loaded.problems]
    assert told == [
        ("mendbook.yml:2:3", Severity.ERROR, "did you mean 'disk'?"),
        ("mendbook.yml:3:16", Severity.ERROR, "did you mean 'short'?"),
        ("mendbook.yml:3:35", Severity.WARNING, "did you mean 'web'?"),
    ]


def test_an_override_that_breaks_the_runbook_says_which(project: Project) -> None:
    project.write(disk=SMALL.format(name="disk"))
    loaded = project.load(fleet=fleet(web=["a"]), params={"disk": Layers({"settle": "soon"})})
    assert loaded.runbooks == ()
    (problem,) = loaded.problems
    assert "'soon' is no duration" in problem.message
    assert "with settle: soon from mendbook.yml" in problem.message


def test_the_digest_is_over_the_file_and_what_its_playbooks_use(project: Project) -> None:
    project.write(leak=WHOLE)
    asked: list[list[str]] = []

    def digest(paths: Sequence[Path]) -> str:
        asked.append([path.name for path in paths])
        return "roles"

    settings = Settings(root=project.root, playbooks=(project.root / "playbooks",))
    folder = [project.root / "runbooks"]
    with_roles = load_runbooks(folder, fleet=Fleet(), settings=settings, digest=digest).runbooks[0].digest
    alone = load_runbooks(folder, fleet=Fleet(), settings=settings).runbooks[0].digest
    project.write(leak=WHOLE + "# a remark\n")
    remarked = load_runbooks(folder, fleet=Fleet(), settings=settings).runbooks[0].digest
    assert asked == [["drain.yml", "restart.yml", "reboot.yml"]]
    assert len({with_roles, alone, remarked}) == 3


@pytest.mark.parametrize(
    ("expr", "code"),
    [
        ("up == 0", None),
        ("absent(up{instance='a'})", None),
        ("absent(up)", "no-instance"),
        ("up", "not-a-condition"),
        ("up == bool 0", "not-a-condition"),
        ("up and on (instance) down", None),
        ("up unless down", None),
        ("up or down", "not-a-condition"),
        ("sum(up) > 1", "no-instance"),
        ("sum by (job) (up) > 1", "no-instance"),
        ("sum by (instance) (up) > 1", None),
        ("sum without (cpu) (up) > 1", None),
        ("sum without (instance) (up) > 1", "no-instance"),
        ("up > on (job) down", "no-instance"),
        ("up > ignoring (instance) down", "no-instance"),
        ("up > on (job) group_left () down", None),
        ("sum(up) > on () group_right () up", None),
        ("1 < up", None),
        ("time() - started > 5", None),
        ("topk(1, up) > 0", None),
        ("rate(x[5m]) > 0", None),
        ("avg_over_time(sum(up)[5m:1m]) > 0", "no-instance"),
        ('label_replace(sum(up), "instance", "a", "", "") > 0', None),
        ("vector(1) > 0", "no-instance"),
        ("1 > bool 0", "bad-promql"),
        ("up[5m]", "bad-promql"),
        ("up{", "bad-promql"),
        ("", "wrong-value"),
    ],
)
def test_a_condition_about_a_target_is_one(project: Project, expr: str, code: str | None) -> None:
    text = SMALL.format(name="disk").replace('"node_filesystem_avail_bytes < {{ short }}"', repr_yaml(expr))
    project.write(disk=text)
    assert codes(project.load().problems) == ([code] if code else [])


def repr_yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_a_condition_about_the_fleet_needs_no_instance_but_a_target(project: Project) -> None:
    text = SMALL.format(name="disk").replace("{alert: DiskFull", "{scope: fleet, alert: DiskFull")
    text = text.replace('"node_filesystem_avail_bytes < {{ short }}"', "sum(up) < 3")
    text = text.replace("{resource: disk}", "{resource: disk, target: lb}")
    project.write(disk=text)
    loaded = project.load(fleet=fleet(lb=["lb"]))
    assert loaded.problems == ()
    assert loaded.runbooks[0].trigger.scope is Scope.FLEET
    assert codes(project.load(fleet=fleet(lb=["lb1"])).problems) == ["unknown-name"]


@pytest.mark.parametrize("name", ["target", "fault", "host", "alert", "two words"])
def test_a_param_cannot_hide_what_templates_speak_of(project: Project, name: str) -> None:
    project.write(disk=SMALL.format(name="disk").replace("{short: 0.1", f"{{short: 0.1, {name}: 1"))
    assert codes(project.load().problems) == ["wrong-value"]
