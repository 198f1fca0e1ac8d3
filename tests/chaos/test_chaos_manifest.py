"""Experiments: what ships can be read and is Chaos Mesh's own schema; what is written wrong is refused at its place, with a fix."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.chaos.actions import CHAOS_MESH, ELSEWHERE, OWN
from engine.chaos.experiment import Ending, When
from engine.chaos.manifest import documents, parse_experiment, read_experiment, span
from engine.chaos.place import DrillError
from engine.chaos.shelf import FOLDER, find, names, shelf
from engine.config.errors import ConfigError

SCHEMA = Path(__file__).parents[3] / "shared" / "chaosmesh" / "physicalmachinechaos.crd.yaml"
GOOD = """\
apiVersion: chaos-mesh.org/v1alpha1
kind: PhysicalMachineChaos
metadata:
  name: killed
  annotations:
    mendbook.drill/resource: service
    mendbook.drill/culprit: "ledger.service, ledger"
spec:
  action: process
  mode: one
  selector:
    physicalMachines: {lab: [web1]}
  process:
    process: ledger
    signal: 9
  duration: 5m
"""


def crd() -> dict[str, object]:
    if not SCHEMA.exists():
        pytest.skip(f"Chaos Mesh's schema is not beside this checkout: put its PhysicalMachineChaos CRD at {SCHEMA}")
    versions = yaml.safe_load(SCHEMA.read_text())["spec"]["versions"]
    return dict(versions[0]["schema"]["openAPIV3Schema"])


@pytest.mark.parametrize("name", names())
def test_what_ships_is_chaos_meshs_own_schema_and_adds_no_key_to_it(name: str) -> None:
    schema = crd()
    spec = schema["properties"]["spec"]["properties"]  # type: ignore[index]
    for document in yaml.safe_load_all((FOLDER / f"{name}.yml").read_text()):
        jsonschema.validate(document, schema)
        assert set(document["spec"]) <= set(spec), "a key that Chaos Mesh has not"
        action = document["spec"]["action"]
        if document["spec"].get(action):
            assert set(document["spec"][action]) <= set(spec[action]["properties"]), (
                "a parameter that Chaos Mesh has not"
            )
        assert all(isinstance(value, str) for value in document["metadata"]["annotations"].values())


def test_every_action_of_chaos_mesh_is_either_read_or_known_to_be_elsewhere() -> None:
    schema = crd()
    actions = set(schema["properties"]["spec"]["properties"]["action"]["enum"])  # type: ignore[index]
    assert set(CHAOS_MESH) | ELSEWHERE | {"user_defined"} == actions
    assert not set(OWN) & actions, "what Chaos Mesh has a word for is said with that word"


def test_every_parameter_we_read_is_one_of_chaos_meshs() -> None:
    spec = crd()["properties"]["spec"]["properties"]  # type: ignore[index]
    for name, action in CHAOS_MESH.items():
        assert set(action.spec) <= set(spec[name]["properties"]), name


def test_at_least_fourteen_kinds_of_fault_ship_and_each_says_what_is_true_of_it() -> None:
    experiments = shelf()
    alone = [each for each in experiments if len(each.injections) == 1]
    assert len(alone) >= 14
    for experiment in experiments:
        assert experiment.name == experiment.file.stem
        assert experiment.truths
        for truth in experiment.truths:
            assert truth.culprits
            assert truth.expect is not Ending.HEALED or truth.runbooks, "a remedy that nobody names is a wrong act"
        for injection in experiment.injections:
            assert injection.truth is None or injection.recovered, "nobody could tell from outside when it is over"


def test_each_action_that_runs_on_nodes_has_its_tasks_and_their_undo() -> None:
    tasks = FOLDER.parent / "playbooks" / "tasks"
    for action in (*CHAOS_MESH.values(), *OWN.values()):
        if action.tasks is not None:
            for way in ("inject", "undo"):
                assert (tasks / f"{action.tasks}_{way}.yml").is_file()


def test_a_good_manifest_is_read() -> None:
    experiment = parse_experiment("killed.yml", GOOD, Path("killed.yml"))
    injection = experiment.injections[0]
    assert (injection.action, injection.duration, injection.hosts) == ("process", 300.0, ("web1",))
    assert dict(injection.parameters) == {"process": "ledger", "signal": 9}
    assert injection.truth is not None
    assert injection.truth.at("web1").culprits == ("ledger.service", "ledger")
    assert injection.when is When.START


MISTAKES = {
    "another kind": ("kind: PhysicalMachineChaos", "kind: PodChaos", "write 'kind: PhysicalMachineChaos'", "'kind' must be PhysicalMachineChaos"),
    "unknown key": ("  duration: 5m", "  durations: 5m", "did you mean 'duration'", "unknown-key: 'durations'"),
    "no end": ("  duration: 5m\n", "", "add 'duration: 5m'", "every injection has an end"),
    "too long": ("duration: 5m", "duration: 5h", "add 'duration: 5m'", "every injection has an end"),
    "unknown action": ("action: process", "action: proces", "did you mean 'process'", "Chaos Mesh has no action 'proces'"),
    "not in the lab": ("action: process", "action: jvm-gc", "there are", "the lab cannot do 'jvm-gc'"),
    "a command": ("action: process", "action: user_defined", "mendbook.drill/inject", "commands of a manifest are not run"),
    "another section": ("  process:\n    process: ledger\n    signal: 9", "  stress-cpu: {workers: 1}", "the action is 'process'", "'stress-cpu'"),
    "no process": ("    process: ledger\n", "", "it is a name", "'process' in 'process' is missing"),
    "a bad name": ("process: ledger\n", "process: 'ledger; rm -rf /'\n", "is not a name", "wrong-value"),
    "a bad signal": ("signal: 9", "signal: kill", "is not a whole number", "wrong-value"),
    "other machines": ("{lab: [web1]}", "{production: [web1]}", "write 'lab'", "drills hit nodes of the group lab alone"),
    "no machines": ("    physicalMachines: {lab: [web1]}\n", "    namespaces: [lab]\n", "physicalMachines: {lab", "does not say which nodes"),
    "an address": ("  mode: one", "  mode: one\n  address: [10.0.0.1]", "name the nodes in 'selector'", "'address' means nothing in the lab"),
    "a random share": ("mode: one", "mode: random-max-percent", "write one, all", "does not choose by"),
    "half a truth": ('    mendbook.drill/culprit: "ledger.service, ledger"\n', "", "", "'mendbook.drill/culprit' is missing"),
    "no truth": ('    mendbook.drill/resource: service\n    mendbook.drill/culprit: "ledger.service, ledger"\n', "    x/y: z\n", "add 'mendbook.drill/resource'", "nothing says what ought to be found"),
    "a bad word": ("resource: service\n", "resource: service\n    mendbook.drill/expect: cured\n", "write healed, held, escalated", "'cured'"),
    "an annotation that is a number": ("resource: service\n", "resource: service\n    mendbook.drill/within: 90\n", "put it in quotes", "an annotation is text"),
    "an unknown annotation": ("resource: service\n", "resource: service\n    mendbook.drill/expects: healed\n", "did you mean 'mendbook.drill/expect'", "unknown-key"),
    "a parameter of another action": ("resource: service\n", "resource: service\n    inject.mendbook.drill/ramp: 5s\n", "leave it out", "unknown-key"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_at_its_line_with_a_fix(name: str) -> None:
    old, new, fix, said = MISTAKES[name]
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_experiment("killed.yml", GOOD.replace(old, new), Path("killed.yml"))
    told = str(caught.value)
    assert said in told
    assert fix in told
    assert "Origin: killed.yml:" in told


def test_places_count_from_the_start_of_a_file_with_several_documents() -> None:
    text = f"---\n{GOOD}---\n{GOOD.replace('signal: 9', 'signal: x')}"
    with pytest.raises(ConfigError) as caught:
        parse_experiment("two.yml", text, Path("two.yml"))
    line = text.split("\n").index("    signal: x") + 1
    assert f"two.yml:{line}:13" in str(caught.value)


def test_a_file_that_cannot_be_read_and_a_name_that_is_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unreadable"):
        read_experiment(tmp_path / "none.yml")
    with pytest.raises(DrillError, match="did you mean 'service-killed'"):
        find("service-kiled")


@given(st.text(max_size=400))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    with pytest.raises(ConfigError) as caught:  # nothing that short is an experiment
        parse_experiment("any.yml", text, Path("any.yml"))
    assert caught.value.problems


@given(
    st.lists(
        st.sampled_from(["a: 1\n", "# only a remark\n", "---\n", "--- # mark\n", "b:\n  - x\n", "\n"]), max_size=12
    )
)
def test_documents_keep_their_lines(parts: list[str]) -> None:
    text = "".join(parts)
    for document in documents("any.yml", text):
        assert text.split("\n")[: document.text.count("\n")] != [] or document.text == ""
        last = document.text.rstrip("\n").split("\n")
        assert text.split("\n")[len(last) - 1] == last[-1]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("1h30m", 5400.0), ("250ms", 0.25), ("5", None), ("", None), ("5x", None)]
)
def test_durations(text: str, seconds: float | None) -> None:
    assert span(text) == seconds
