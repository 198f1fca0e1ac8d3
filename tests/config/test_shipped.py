"""What comes with the product: every runbook loads without a remark, for the demo cluster and for ordinary hosts."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from engine.config.project import Layers
from engine.config.runbooks import load_runbooks
from engine.config.schema import FILES, FOLDER, schema, text
from engine.config.settings import Settings, shipped
from engine.model.runbook import Mode, Purpose, Runbook
from engine.model.target import Fleet, Target
from engine.promql import experimental, parse

RUNBOOKS = sorted(shipped("runbooks").glob("*.yml"))


def loaded(settings: Settings | None = None, fleet: Fleet | None = None) -> tuple[Runbook, ...]:
    made = settings or Settings(root=Path(), playbooks=(shipped("playbooks"),))
    result = load_runbooks([shipped("runbooks")], fleet=fleet or Fleet(), settings=made)
    assert [str(problem) for problem in result.problems] == []
    return result.runbooks


def test_every_shipped_runbook_loads_without_a_remark() -> None:
    assert {runbook.name for runbook in loaded()} == {path.stem for path in RUNBOOKS}
    assert len(RUNBOOKS) >= 8


def test_shipped_runbooks_only_say_what_they_would_do() -> None:
    assert {runbook.mode for runbook in loaded()} == {Mode.SHADOW}


def test_the_kinds_of_faults_are_covered() -> None:
    runbooks = loaded()
    resources = {runbook.localize.resource for runbook in runbooks}
    assert resources >= {"node", "service", "memory", "cpu", "disk", "data", "capacity"}
    assert Purpose.PREVENTION in {runbook.purpose for runbook in runbooks}
    assert any("stddev_over_time" in runbook.trigger.expr for runbook in runbooks)


def test_shipped_runbooks_bound_themselves() -> None:
    for runbook in loaded():
        assert runbook.guards.cooldown > 0, runbook.name
        assert runbook.guards.max_per_hour is not None, runbook.name
        assert runbook.trigger.for_ > 0, runbook.name
        assert runbook.verify.for_ > 0, runbook.name
        assert "summary" in runbook.trigger.annotations, runbook.name


def test_shipped_expressions_run_on_a_stock_prometheus() -> None:
    for runbook in loaded():
        for expr in (runbook.trigger.expr, runbook.verify.expr, runbook.localize.culprit_expr):
            assert expr is None or experimental(parse(expr)) == (), runbook.name


def test_of_two_shipped_runbooks_on_one_resource_one_comes_first() -> None:
    ranks = [(runbook.localize.resource, runbook.priority) for runbook in loaded()]
    assert len(set(ranks)) == len(ranks), sorted(ranks)


def test_shipped_playbooks_are_all_there_and_take_the_variables_they_get() -> None:
    for runbook in loaded():
        for remedy in runbook.remedies:
            for step in (*remedy.steps, *remedy.finally_):
                role = yaml.safe_load((shipped("playbooks") / step.playbook).read_text())[0]["roles"][0]["role"]
                specs = shipped("playbooks") / "roles" / role / "meta" / "argument_specs.yml"
                known = set(yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"])
                assert set(step.vars) <= known, f"{runbook.name}: {step.playbook}"


def test_every_param_can_be_overridden() -> None:
    hosts = Fleet({name: Target(name) for name in ("a", "b")})
    params = {runbook.name: Layers(hosts={"a": runbook.params}) for runbook in loaded()}
    for runbook in loaded(Settings(root=Path(), playbooks=(shipped("playbooks"),), params=params), hosts):
        assert runbook.hosts is None or len(runbook.hosts) == 1


def test_every_param_is_used() -> None:
    for path in RUNBOOKS:
        content = path.read_text()
        for name in yaml.safe_load(content).get("params", {}):
            assert content.count(name) > 1, f"{path.name}: {name}"


@pytest.mark.parametrize("name", FILES)
def test_the_committed_schema_is_the_one_that_the_classes_give(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == text(FILES[name])


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_editors_take_every_shipped_runbook(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    jsonschema.Draft202012Validator(schema(FILES["runbook.schema.json"])).validate(content)


def test_editors_remark_upon_what_the_loader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json.loads((FOLDER / "runbook.schema.json").read_text()))
    content = yaml.safe_load(RUNBOOKS[0].read_text())
    for change in ({"remedys": []}, {"mode": "automatic"}, {"runbook": "Two Words"}, {"remedies": "none"}):
        assert not validator.is_valid({**content, **change})
    del content["verify"]
    assert not validator.is_valid(content)


def test_the_example_in_the_readme_loads(tmp_path: Path) -> None:
    readme = (shipped("runbooks") / "README.md").read_text()
    (tmp_path / "swap-full.yml").write_text(readme.split("```yaml\n")[2].split("```")[0])
    settings = Settings(root=Path(), playbooks=(shipped("playbooks"),))
    result = load_runbooks([tmp_path / "swap-full.yml"], fleet=Fleet(), settings=settings)
    assert [str(problem) for problem in result.problems] == []
    assert len(result.runbooks) == 1


def test_the_readme_lists_every_shipped_runbook() -> None:
    readme = (shipped("runbooks") / "README.md").read_text()
    assert [path.stem for path in RUNBOOKS if f"| `{path.stem}` |" not in readme] == []
