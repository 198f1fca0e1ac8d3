"""Warm runs are what cold runs are: every case is played on both, and what was told is compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.executor.local import LocalExecutor
from engine.executor.warm import starts
from engine.executor.warm.starts import Starts
from engine.model.execution import Execution, PlannedStep, Report, TaskEvent
from tests.executor.conftest import play, wait

pytestmark = pytest.mark.e2e

INVENTORY = """
all:
  hosts:
    one: {ansible_connection: local}
    two: {ansible_connection: local}
    gone: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_connection: ssh}
  children:
    pair: {hosts: {one: , two: }}
"""
SCRIPT = """#!/bin/sh
echo '{"pair": {"hosts": ["one", "two"]}, "_meta": {"hostvars": {"one": {"ansible_connection": "local"}, "two": {"ansible_connection": "local"}}}}'
"""
SEEN = """
import gc, locale, os, resource, signal, stat, sys, tempfile, threading
from ansible import constants as C
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        main = os.getpid()
        seen = {
            "arguments": sys.argv, "executable": sys.executable, "path": sys.path[:3], "prefix": sys.prefix,
            "cwd": os.getcwd(), "umask": os.umask(0o077), "terminals": [os.isatty(each) for each in range(3)],
            "leads": os.getsid(0) == os.getpgid(os.getsid(0)), "session": os.getsid(0) == main,
            "environment": {key: value for key, value in os.environ.items()},
            "ignored": sorted(number for number in range(1, 32) if signal.getsignal(number) == signal.SIG_IGN),
            "default": sorted(number for number in range(1, 32) if signal.getsignal(number) == signal.SIG_DFL),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "limits": [resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC)],
            "encodings": [sys.stdin.encoding, sys.stdout.encoding, sys.stdout.errors, sys.getfilesystemencoding()],
            "locale": locale.getlocale(), "threads": threading.active_count(), "collects": gc.isenabled(),
            "files": sorted(os.readlink(f"/proc/self/fd/{each}").split(":")[0] for each in os.listdir("/proc/self/fd")
                            if os.path.exists(f"/proc/self/fd/{each}")),
            "temporary": [os.path.dirname(C.DEFAULT_LOCAL_TMP), tempfile.gettempdir()], "priority": os.nice(0),
            "mark": open("/proc/self/environ").read().split("MENDBOOK_EXECUTION=")[1].split("\\0")[0],
            "command": [word for word in open("/proc/self/cmdline").read().split("\\0") if word],
        }
        return [seen]
"""
SHADOW = """
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"changed": False, "msg": "the project's own debug"}
"""
FILTERS = "class FilterModule:\n    def filters(self):\n        return {'shout': lambda text: text.upper() + '!'}\n"
CALLBACK = """
from pathlib import Path
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "note"

    def v2_runner_on_ok(self, result, **kwargs):
        self._display.display(f"noted {result._task.get_name()}")
"""
MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.{utility} import say


def main():
    module = AnsibleModule(argument_spec={{"word": {{"type": "str"}}}}, supports_check_mode=True)
    module.exit_json(changed=False, msg=say(module.params["word"]))


main()
"""
OTHER_TEXT = 'def boolean(value, strict=True):\n    return "overridden"\n\n\nBOOLEANS = BOOLEANS_TRUE = BOOLEANS_FALSE = frozenset()\n'
VAULT = "correct horse\n"

FILES: Mapping[str, str] = {
    "roles/base/defaults/main.yml": "greeting: hello\n",
    "roles/base/tasks/main.yml": "- name: base\n  ansible.builtin.debug:\n    msg: '{{ greeting }} {{ role_name }}'\n",
    "roles/web/meta/main.yml": "dependencies: [base]\n",
    "roles/web/handlers/main.yml": "- name: reload\n  ansible.builtin.debug:\n    msg: reloaded\n",
    "roles/web/templates/site.j2": "{{ inventory_hostname }} says {{ greeting }}\n",
    "roles/web/tasks/main.yml": "- name: site\n  ansible.builtin.template:\n    src: site.j2\n    dest: '{{ place }}/site-{{ inventory_hostname }}'\n    mode: '0600'\n  notify: reload\n",
    "roles/worded/library/words.py": MODULE.format(utility="worded_text"),
    "roles/worded/module_utils/worded_text.py": "def say(word):\n    return word * 2\n",
    "roles/worded/tasks/main.yml": "- name: words\n  words:\n    word: so\n",
    "roles/strange/module_utils/parsing/convert_bool.py": OTHER_TEXT,
    "roles/strange/module_utils/parsing/__init__.py": "",
    "roles/strange/tasks/main.yml": "- name: strange\n  ansible.builtin.command: 'true'\n  changed_when: false\n",
    "collections/ansible_collections/tiny/tool/plugins/modules/words.py": MODULE.replace(
        "module_utils.{utility}", "module_utils.basic"
    )
    .replace("import say", "import AnsibleModule as say_")
    .replace("say(module", "str(module")
    .replace("{{", "{")
    .replace("}}", "}"),
    "collections/ansible_collections/tiny/tool/plugins/filter/loud.py": FILTERS,
    "collections/ansible_collections/tiny/tool/galaxy.yml": "namespace: tiny\nname: tool\nversion: 1.0.0\nreadme: README.md\nauthors: [nobody]\n",
    "lookup_plugins/seen.py": SEEN,
    "filter_plugins/shout.py": FILTERS,
    "more.yml": "- name: more\n  ansible.builtin.debug:\n    msg: 'item {{ item }}'\n",
    "shadowed/action_plugins/debug.py": SHADOW,
    "noting/callback_plugins/note.py": CALLBACK,
}


def tasks(*lines: str, hosts: str = "pair", more: str = "") -> str:
    return play(*lines, hosts=hosts).replace("  gather_facts: false\n", f"  gather_facts: false\n{more}")


SHOWN = "name: seen\ndebug: {msg: '{{ lookup(\"seen\") }}'}"
CASES: Mapping[str, str] = {
    "seen.yml": tasks(SHOWN),
    "role.yml": tasks(more="  roles: [web]\n", hosts="pair").replace("  tasks:\n", "  vars: {place: '{{ playbook_dir }}'}\n"),
    "include_role.yml": tasks("name: later\ninclude_role: {name: base}\nvars: {greeting: ho}", "name: own\ninclude_role: {name: worded}"),
    "utilities.yml": tasks("name: first\ncommand: 'true'", "name: odd\ninclude_role: {name: strange}", "name: last\nstat: {path: /}"),
    "collection.yml": tasks("name: words\ntiny.tool.words: {word: so}", "name: loud\ndebug: {msg: \"{{ 'so' | tiny.tool.shout }}\"}"),
    "filter.yml": tasks("name: loud\ndebug: {msg: \"{{ 'so' | shout }}\"}", "name: no such\ndebug: {msg: \"{{ 'so' | whisper }}\"}"),
    "shadowed/shadow.yml": tasks("name: full\nansible.builtin.debug: {msg: mine}", "name: short\ndebug: {msg: mine}"),
    "noting/note.yml": tasks("name: one\ndebug: {msg: 1}"),
    "vault.yml": tasks("name: told\ndebug: {msg: '{{ sealed | length }} {{ inline | length }}'}", more="  vars_files: [sealed.yml]\n"),
    "become.yml": tasks("name: who\ncommand: id -un\nbecome: true\nbecome_user: nobody\nchanged_when: false", hosts="one"),
    "become_su.yml": tasks("name: who\ncommand: id -un\nregister: it", "name: said\ndebug: {msg: '{{ it.stdout }}'}", more="  become: true\n  become_method: su\n", hosts="one"),
    "change.yml": tasks("name: write\ncopy: {content: \"new\\n\", dest: '{{ place }}/{{ inventory_hostname }}'}", "name: look\nstat: {path: '{{ place }}/one'}\nregister: it", "name: there\ndebug: {msg: '{{ it.stat.exists }}'}"),
    "async.yml": tasks("name: long\ncommand: sleep 0.2\nasync: 20\npoll: 1", "name: apart\ncommand: echo so\nasync: 20\npoll: 0\nregister: job", "name: wait\nasync_status: {jid: '{{ job.ansible_job_id }}'}\nregister: it\nuntil: it.finished\nretries: 50\ndelay: 0.2", hosts="one"),
    "fail.yml": tasks("name: ignore\ncommand: 'false'\nignore_errors: true", "name: break\ncommand: sh -c 'echo dear >&2; exit 3'", "name: never\ndebug: {msg: no}"),
    "rescue.yml": tasks("name: block\nblock:\n  - name: bad\n    fail: {msg: '{{ inventory_hostname }}'}\nrescue:\n  - name: saved\n    debug: {msg: '{{ ansible_failed_task.name }}'}\nalways:\n  - name: ever\n    debug: {msg: yes}"),
    "unreachable.yml": tasks("name: ask\nping:", hosts="all"),
    "handlers.yml": tasks("name: change\ncommand: 'true'\nnotify: [hear]", "name: flush\nmeta: flush_handlers", "name: fail\nfail: {msg: no}\nwhen: inventory_hostname == 'two'", more="  handlers:\n    - name: hear\n      debug: {msg: heard}\n"),
    "pause.yml": tasks("name: rest\npause: {seconds: 1}", "name: go on\ndebug: {msg: on}"),
    "prompt.yml": tasks("name: ask\npause: {prompt: 'Go on?'}"),
    "asked.yml": tasks("name: ask\npause: {prompt: 'Go on?'}\nwhen: place is defined"),
    "vars_prompt.yml": tasks("name: told\ndebug: {msg: '{{ word }}'}", more="  vars_prompt: [{name: word, prompt: Which, private: false}]\n"),
    "hidden.yml": tasks("name: hidden\ncommand: echo planted-{{ inventory_hostname }}\nno_log: true", "name: bad\nfail: {msg: planted}\nno_log: true"),
    "facts.yml": tasks("name: known\ndebug: {msg: '{{ ansible_facts.system }} {{ ansible_facts.python.executable }}'}", "name: some\nsetup: {gather_subset: [min]}").replace("gather_facts: false", "gather_facts: true"),
    "free.yml": tasks("name: one\ncommand: 'true'", "name: two\ndebug: {msg: '{{ inventory_hostname }}'}", more="  strategy: free\n", hosts="one"),
    "serial.yml": tasks("name: one\ncommand: 'true'", more="  serial: 1\n"),
    "loops.yml": tasks("name: each\ninclude_tasks: more.yml\nloop: [1, 2]", "name: words\ncommand: 'echo {{ item }}'\nloop: [a, b]\nchanged_when: false", "name: until\ncommand: 'false'\nregister: it\nuntil: it.rc == 0\nretries: 1\ndelay: 0\nignore_errors: true"),
    "talk.yml": tasks("name: know\nset_fact: {word: '{{ inventory_hostname }}'}", "name: other\ndebug: {msg: \"{{ hostvars['two'].word | default('none') }}\"}", "name: once\ncommand: echo\nrun_once: true\ndelegate_to: two", "name: lines\nshell: 'echo $0 | cat'\nregister: it", "name: end\nmeta: end_play", "name: never\nfail:"),
    "inside.yml": tasks("name: say\ndebug: {msg: '{{ ansible_playbook_python }} {{ ansible_version.full }} {{ ansible_limit }} {{ playbook_dir }}'}", "name: pipe\ndebug: {msg: \"{{ lookup('pipe', 'ulimit -n; umask; tty') }} {{ lookup('env', 'MAX_EVENT_RES') }}\"}"),
    "syntax.yml": "- hosts: all\n  tasks:\n   - debug: {msg: [}\n",
    "no_role.yml": tasks(more="  roles: [nowhere]\n").replace("  tasks:\n", ""),
    "misspelt.yml": tasks("name: bad\ncomand: 'true'"),
    "undefined.yml": tasks("name: bad\ndebug: {msg: '{{ nobody_said }}'}"),
    "imports.yml": "- import_playbook: facts.yml\n" + tasks("name: raw\nraw: echo so", "name: script\nscript: hello.sh", hosts="one"),
}  # fmt: skip
LATER = ("asked.yml",)
"""These wait for people until their time is up."""


@dataclass(frozen=True)
class Pair:
    """The same project, played cold and warm."""

    root: Path
    cold: LocalExecutor
    warm: LocalExecutor

    def both(self, playbook: str, inventory: str = "inventory.yml", **given: bool) -> tuple[Told, Told]:
        hosts = ("one", "two", "gone") if playbook == "unreachable.yml" else ("one", "two")
        timeout = 3.0 if playbook in LATER else 60.0
        executions = []
        for kind, executor in (("cold", self.cold), ("warm", self.warm)):
            place = self.root / kind / "place"
            place.mkdir(exist_ok=True)
            step = PlannedStep(playbook, hosts, {"place": str(place)}, timeout=timeout)
            name = re.sub(r"\W", "-", f"{kind}-{playbook}-{inventory}-{len(given)}")
            execution = Execution(name, "a", "i", "r", "d", "m", "one", (step,), **given)
            executor._inventory = (self.root / inventory,)
            executor.start(execution)
            executions.append((executor, execution.id))
        cold, warm = (told(executor, name) for executor, name in executions)
        return cold, warm


@dataclass(frozen=True)
class Told:
    report: Report
    events: tuple[TaskEvent, ...]
    output: str

    def plain(self) -> list[object]:
        """Return everything that was told but times, and names that differ because there are two of them."""
        name = self.report.id
        kind = name.partition("-")[0]

        def same(text: str) -> str:
            text = re.sub(rf"/{kind}/", "/KIND/", text.replace(name, "NAME"))
            text = re.sub(
                r"(?<=ansible-local-)\w+|(?<=/tmp/#)\d+|(?<=ansible-tmp-)[\d.-]+|j\d+\.\d+|(?<=tmp)\w{8}\b", "X", text
            )
            text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+|0:00:0\d\.\d+|\d\.\d+s|took \S+ s|pts/\d+", "T", text)
            return re.sub(rf"\b{kind}\b", "KIND", text)

        data = [{key: value for key, value in event.data.items() if key != "duration"} for event in self.events]
        lines = [
            (event.kind, event.host, event.task, same(event.text), one)
            for event, one in zip(self.events, data, strict=True)
        ]
        return [
            str(self.report.state),
            same(self.report.message),
            self.report.contained,
            self.report.unreachable,
            *sorted(lines, key=str),
            sorted(same(self.output).splitlines()),
        ]


def told(executor: LocalExecutor, name: str) -> Told:
    events: list[TaskEvent] = []
    reports: list[Report] = []

    def over() -> bool:
        reports[:] = [executor.report(name, events[-1].number if events else 0)]
        events.extend(reports[0].events)
        return not reports[0].state.active

    wait(over, f"the end of {name}")
    output = executor._directory / name / "steps" / "1" / "output"
    return Told(reports[0], tuple(events), output.read_text() if output.exists() else "")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("same")
    playbooks = root / "playbooks"
    for name, text in {**FILES, **CASES, "hello.sh": "#!/bin/sh\necho hello\n"}.items():
        (playbooks / name).parent.mkdir(parents=True, exist_ok=True)
        (playbooks / name).write_text(text)
    (root / "inventory.yml").write_text(INVENTORY)
    (root / "inventory.ini").write_text("[pair]\none ansible_connection=local\ntwo ansible_connection=local\n")
    (root / "inventory.sh").write_text(SCRIPT)
    (root / "inventory.sh").chmod(0o755)
    (root / "secret").write_text(VAULT)
    sealed = seal(root, "sealed: planted-in-the-vault\n")
    inline = seal(root, "planted-inline").replace("\n", "\n  ")
    (playbooks / "sealed.yml").write_text(sealed)
    (playbooks / "group_vars").mkdir()
    (playbooks / "group_vars" / "pair.yml").write_text(f"inline: !vault |\n  {inline}\n")
    environment = {"ANSIBLE_VAULT_PASSWORD_FILE": str(root / "secret")}
    made = [
        LocalExecutor(root / kind, inventory=(), playbooks=(playbooks,), environment=environment)
        for kind in ("cold", "warm")
    ]
    for kind in ("cold", "warm"):
        (root / kind).mkdir()
    assert made[1].keep_warm().wait(120) is None, (root / "warm" / ".warm" / "log").read_text()
    yield Pair(root, *made)
    made[1].close()


def seal(root: Path, text: str) -> str:
    program = Path(sys.executable).parent / "ansible-vault"
    command = [program, "encrypt", "--vault-password-file", str(root / "secret"), "--output", "-"]
    surroundings = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=True, env=surroundings)
    return done.stdout


@pytest.mark.parametrize("playbook", CASES)
def test_a_warm_run_tells_what_a_cold_one_tells(pair: Pair, playbook: str) -> None:
    cold, warm = pair.both(playbook)
    assert warm.plain() == cold.plain()


@pytest.mark.parametrize("playbook", ["change.yml", "role.yml", "handlers.yml", "fail.yml"])
def test_a_rehearsal_shows_the_same_differences(pair: Pair, playbook: str) -> None:
    cold, warm = pair.both(playbook, check=True, diff=True)
    assert warm.plain() == cold.plain()


@pytest.mark.parametrize("inventory", ["inventory.ini", "inventory.sh"])
def test_another_inventory_is_read_the_same(pair: Pair, inventory: str) -> None:
    cold, warm = pair.both("talk.yml", inventory)
    assert warm.plain() == cold.plain()


def test_all_of_that_was_warm_or_cold_as_it_should_be(pair: Pair) -> None:
    pair.both("loops.yml", "inventory.ini")
    counted = {kind: starts.counted(pair.root / kind) for kind in ("cold", "warm")}
    number = counted["warm"].warm
    assert number > 0
    assert counted["warm"] == Starts(number, {}, "")
    assert counted["cold"].warm == 0
    assert counted["cold"].cold == {"off": number}
