"""Whatever labels, host names and figures say reaches Ansible as what it is: never expanded, never an option, never run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.executor import inputs
from engine.executor.inputs import Refused
from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, play

SUCCESSFUL, FAILED = ExecutionState.SUCCESSFUL, ExecutionState.FAILED


def hostile(witness: Path) -> list[str]:
    """Return texts that would leave a witness behind if anybody read them as more than texts."""
    touch = f"touch {witness}"
    pipe = f"lookup('ansible.builtin.pipe', '{touch}')"
    return [
        f"{{{{ {pipe} }}}}",
        f"{{% set x = {pipe} %}}",
        f"{{#\n#}}{{{{ {pipe} }}}}",
        f"{{{{ query('ansible.builtin.pipe', '{touch}') | first }}}}",
        pipe,
        f"true or {pipe}",
        f"!unsafe '{{{{ {pipe} }}}}'",
        f'!!python/object/apply:os.system ["{touch}"]',
        f"--become --extra-vars=@{witness}",
        f"-e@{witness}",
        f"$({touch})",
        f"`{touch}`; {touch} & {touch} | {touch}",
        f"'; {touch} #",
        f'" ; {touch} #',
        f"\n- hosts: all\n  tasks:\n    - command: {touch}\n",
        f"x\r\n{touch}\r\n",
        "../../../../etc/passwd",
        "~root/.ssh/authorized_keys",
        "@/etc/passwd",
        "%s %d {} {0.__class__}",
        "ünïcödé \N{SNOWMAN} \U0001f600 \u202e\u2028 e\u0301",
        "\ttab\x7f\x1b[31m",
        "null",
        "yes",
        "0x10",
        "1e3",
        "",
        "  ",
        ": - ? # | > & * % @",
    ]


@pytest.mark.e2e
def test_texts_come_out_of_ansible_as_they_went_in_and_nothing_in_them_is_run(bench: Bench) -> None:
    witness = bench.root / "witness"
    texts = hostile(witness)
    name = bench.playbook(
        "say.yml",
        play(
            'name: write\ncopy: {content: \'{{ {"texts": texts, "deep": deep, "one": one} | to_json }}\', dest: \'{{ playbook_dir }}/out\'}',
            "name: say {{ one }}\ndebug: {msg: '{{ texts }} {{ deep }}'}",
            "name: pass on\ninclude_tasks: again.yml\nvars: {again: '{{ one }}', all: '{{ texts }}'}",
            "name: argument\ncommand: {argv: '{{ [\"echo\"] + texts }}'}",
            "name: set\nset_fact: {kept: '{{ one }}', them: '{{ texts }}'}",
            "name: once more\ndebug: {msg: '{{ kept }} {{ them }}'}",
        ),
    )
    (bench.root / "playbooks" / "again.yml").write_text("- name: again\n  debug: {msg: '{{ again }} {{ all }}'}\n")
    step = PlannedStep(name, ("one",), {"texts": tuple(texts), "deep": {"a": {"b": tuple(texts)}}, "one": texts[0]})
    told = bench.run(step)
    assert told.report.state is SUCCESSFUL, told.text
    content = json.loads((bench.root / "playbooks" / "out").read_text())
    assert content == {"texts": texts, "deep": {"a": {"b": texts}}, "one": texts[0]}
    assert not witness.exists()


@pytest.mark.e2e
def test_a_playbook_that_reads_a_text_as_an_expression_is_refused_by_ansible_and_runs_nothing(bench: Bench) -> None:
    witness = bench.root / "witness"
    tasks = [
        f"name: {number}\n{task}\nignore_errors: true\nloop: '{{{{ texts[:6] }}}}'"
        for number, task in enumerate(
            (
                "debug: {msg: x}\nwhen: item",
                "debug: {var: '{{ item }}'}",
                "assert: {that: ['{{ item }}']}",
                "assert: {that: item}",
                "debug: {msg: x}\nfailed_when: item",
                "debug: {msg: \"{{ lookup('ansible.builtin.vars', item, default='') }}\"}",
                "command: {argv: [echo, '{{ item }}']}\nenvironment: {X: '{{ item }}'}",
            )
        )
    ]
    told = bench.run(
        PlannedStep(bench.playbook("eval.yml", play(*tasks)), ("one",), {"texts": tuple(hostile(witness))})
    )
    assert told.kinds("task_started")
    assert not witness.exists()


@pytest.mark.e2e
def test_what_names_an_incident_and_its_target_is_a_text_too(bench: Bench) -> None:
    witness = bench.root / "witness"
    bad = hostile(witness)[0]
    words = "{{ mendbook_attempt }} {{ mendbook_incident }} {{ mendbook_target }}"
    name = bench.playbook("say.yml", play(f"name: say\ndebug: {{msg: '{words}'}}"))
    told = bench.run(PlannedStep(name, ("one",)), attempt=bad, incident=bad, target=bad, remedy=bad, reason=bad)
    assert told.kinds("ok")[0].text == f"{bad} {bad} {bad}"
    assert not witness.exists()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", ["{{ lookup('pipe', 'touch WITNESS') }}", "-e@WITNESS", "a b", "x,one", "../one", "one\nx"]
)
def test_a_host_that_the_inventory_itself_calls_so_is_refused(bench: Bench, name: str) -> None:
    witness = bench.root / "witness"
    host = name.replace("WITNESS", str(witness))
    (bench.root / "inventory.yml").write_text(
        json.dumps({"all": {"hosts": {host: {"ansible_connection": "local"}, "one": {}}}})
    )
    told = bench.run(PlannedStep(bench.playbook("x.yml", play("name: x\ndebug:")), (host,)))
    assert told.report.state is FAILED
    assert "host name" in told.report.message or "no host matched" in told.report.message
    assert not witness.exists()


@pytest.mark.parametrize(
    "name",
    [
        "ansible_connection; x",
        "a\nb",
        "{{ x }}",
        "a: b",
        "!unsafe",
        "",
        "__class__\x00",
        "a.b",
        "-e",
        "hosts\u202e",
        "ªb",
    ],
)
def test_a_variables_name_is_a_name(name: str) -> None:
    with pytest.raises(Refused, match="no name"):
        inputs.unsafe_yaml({name: "x"})


@given(st.text(max_size=40))
def test_a_limit_names_each_host_exactly_or_is_refused(host: str) -> None:
    try:
        words = inputs.limit(("web-1", host))
    except Refused:
        return
    assert words in (f"web-1,{host}", "web-1")
    assert not host.startswith(("-", "@", "!", "&", "~"))
    assert not set(host) & set(",:*?[]{}'\"\\$|;<>()` \n\r\t\x00")


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_a_playbook_is_found_inside_its_folder_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "hostile"
    inside = root / "playbooks"
    inside.mkdir(parents=True, exist_ok=True)
    (root / "outside.yml").write_text("[]")
    (inside / "fine.yml").write_text("[]")
    for tried in (name, f"../{name}", f"{name}/../../outside.yml", f"./{name}/fine.yml"):
        try:
            found = inputs.find_playbook(tried, [inside])
        except Refused:
            continue
        assert found.is_relative_to(inside.resolve())
