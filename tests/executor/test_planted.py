"""A whole project with secrets planted wherever they come in: an engine and people work with it, and no secret gets out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.model.labels import Batch, Labels
from engine.records.history import History
from engine.records.store import Record
from engine.samples.store import SampleStore
from tests.e2e.watched import PLAYBOOK, RUNBOOK, Watched
from tests.executor.planting import COVER, Garden, vault

pytestmark = pytest.mark.e2e

SETTINGS = """\
interval: 500ms
retention: 160m
inventory: inventory
state: state
sources:
  host: false
  exposition:
    - {{job: node, hosts: all, url: "http://reader:{page}@127.0.0.1:{port}/node-1", timeout: 2s}}
    - {{job: gone, hosts: all, url: "http://reader:{page_down}@127.0.0.1:9/metrics?token={page_token}", timeout: 2s}}
    - {{job: moved, hosts: all, url: "http://reader:{page_moved}@127.0.0.1:{port}/moved", timeout: 2s}}
    - {{job: wrong, hosts: all, url: "htp://reader:{page_wrong}@127.0.0.1:{port}/node-1", timeout: 2s}}
    - {{job: blank, hosts: all, url: "http://reader:{page_blank}@{{{{ no_such_variable }}}}:{port}/", timeout: 2s}}
    - {{job: host, hosts: all, url: "http://reader:{{{{ page_password }}}}@127.0.0.1:{port}/x", timeout: 2s}}
  probe:
    - {{job: web, hosts: all, http: "http://reader:{probe}@127.0.0.1:9/?token={probe_token}", timeout: 2s}}
    - {{job: tcp, hosts: all, tcp: "{{{{ page_password }}}}", timeout: 2s}}
limits: {{reopen: 1s}}
executor: {{warm: {warm}}}
heartbeat: {{url: "http://127.0.0.1:{port}/ping/{heartbeat}?key={heartbeat_key}", every: 1s}}
notify:
  urls:
    - "json://teller:{notify_password}@127.0.0.1:{port}/hook/{notify_token}"
    - "json://127.0.0.1:9/hook/{notify_dead}"
"""
INVENTORY = """\
all:
  vars: {{ansible_connection: local, ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  hosts:
    node-1:
      ansible_password: {ansible_password}
      ansible_become_password: {become_password}
      db_password: {host_variable}
      page_password: {page_host}
      connection: "postgresql://app:{host_address}@db/app"
      composed_secret: "{{{{ first_half }}}}{{{{ lookup('file', playbook_dir ~ '/../half') }}}}"
      first_half: {composed}
"""
TASKS = """\
- name: Say everything, also by the name of {{ db_password }}
  ansible.builtin.debug: {msg: "{{ every }}"}
- name: Say it as others write it
  ansible.builtin.debug:
    msg: "{{ sealed | b64encode }} {{ sealed | urlencode }} {{ [sealed] | to_json }} {{ ('Basic ' ~ ('me:' ~ sealed)) | b64encode }} {{ sealed | quote }}"
- name: Say it in a structure
  ansible.builtin.debug: {var: structure}
  vars: {structure: {one: ["{{ sealed }}", "{{ inline }}"], two: {"{{ sealed }}": 1}}}
- name: Hush what is given and what comes of it
  ansible.builtin.command: "echo no_log_result={{ 'HUSHED' }}"
  no_log: true
  register: hushed
- name: Say what was hushed
  ansible.builtin.debug: {msg: "it said {{ hushed.stdout | regex_replace('^no_log_result=', '') }} {{ hushed.stdout_lines }}"}
- name: Hush each of several
  ansible.builtin.command: "echo {{ item }}"
  loop: ["LOOPED"]
  no_log: true
  register: hushed_each
- name: Say each that was hushed
  ansible.builtin.debug: {msg: "{{ hushed_each.results | map(attribute='stdout') }}"}
- name: Keep what comes of it under a name that tells
  ansible.builtin.command: "cat {{ playbook_dir }}/../registered"
  register: api_token
- name: Say what was kept
  ansible.builtin.debug: {msg: "{{ api_token.stdout }}"}
- name: Set
  ansible.builtin.set_fact: {admin_password: "FACT", half: "{{ sealed }}"}
- name: Say what was set
  ansible.builtin.debug: {msg: "{{ admin_password }} {{ half }}"}
- name: Include
  ansible.builtin.include_vars: {file: included.yml}
- name: Say what was included
  ansible.builtin.debug: {msg: "{{ harmless }}"}
- name: Give a task a variable
  ansible.builtin.debug: {msg: "{{ task_password }}"}
  vars: {task_password: "TASKVAR"}
- name: Give it to several
  vars: {block_password: "BLOCKVAR"}
  block:
    - name: Say what all were given
      ansible.builtin.debug: {msg: "{{ block_password }}"}
- name: Use a role
  ansible.builtin.include_role: {name: teller}
- name: Go through several
  ansible.builtin.debug: {msg: "{{ item.password }}"}
  loop: [{user: a, password: "ITEMVAR"}]
- name: Give it to a program
  ansible.builtin.command: env
  environment: {SERVICE_TOKEN: "ENVIRON"}
  register: surroundings
- name: Say what the program said
  ansible.builtin.debug: {var: surroundings.stdout}
- name: Write it and show the difference
  ansible.builtin.template: {src: conf.j2, dest: "{{ playbook_dir }}/../node/conf", mode: "0600"}
  diff: true
- name: Give it to a module
  ansible.builtin.uri: {url: "http://127.0.0.1:9/", url_username: me, url_password: "ARGUMENT"}
  ignore_errors: true
- name: Say what the module was given
  ansible.builtin.debug: {msg: "ARGUMENT"}
- name: Fail where it is hushed
  ansible.builtin.command: "/bin/sh -c 'echo HUSHFAIL >&2; exit 3'"
  no_log: true
  ignore_errors: true
- name: Fail with a template that is wrong where it is hushed
  ansible.builtin.debug: {msg: "HUSHWRONG {{ no_such_thing }}"}
  no_log: true
  ignore_errors: true
- name: Take what is in the background
  ansible.builtin.command: "echo ASYNC"
  async: 30
  poll: 1
  no_log: true
- name: Fail with it
  ansible.builtin.shell: 'printf %s {{ every | quote }}; printf %s {{ every | quote }} >&2; exit 3'
"""
EVERY = (
    "{{ sealed }} {{ inline }} {{ with_play }} {{ in_play_password }} {{ db_password }} {{ ansible_password }} "
    "{{ ansible_become_password }} {{ connection }} {{ composed_secret }} {{ signing_key }} {{ page_password }} "
    "{{ lookup('env', 'SERVICE_TOKEN') }} {{ lookup('env', 'ANSIBLE_GALAXY_TOKEN') }} "
    "{{ lookup('env', 'MENDBOOK_DATABASE_URL') }} {{ lookup('file', lookup('env', 'NOT_PASSED_ON') or '/dev/null') }}"
)
COMMANDS = (
    ("status",), ("status", "-o", "json"), ("doctor",), ("doctor", "-o", "json"), ("audit",), ("audit", "-o", "json"),
    ("plan",), ("plan", "-o", "yaml"), ("lint",), ("lint", "-o", "json"), ("incidents",), ("incidents", "list", "-o", "json"),
    ("runs",), ("runs", "list", "-o", "json"), ("why", "node-1"), ("why", "node-1", "-o", "json"),
    ("why", "node-1", "--at", "-2s"), ("locks",), ("trust",), ("trust", "broken"), ("metrics",),
    ("metrics", "query", "up", "-o", "json"), ("metrics", "list", '{job=~".+"}'), ("audit-log",), ("audit-log", "export"),
    ("audit-log", "verify"),
)  # fmt: skip


class Project(Watched):
    """The project, its engine, and everything that was said by anybody."""

    def __init__(self, root: Path, garden: Garden, where: str | None = None, *, warm: bool = True) -> None:
        super().__init__(root, where)
        self.garden = garden
        self.said_by: dict[str, bytes] = {}
        for name in ("home", "tmp"):
            (root / name).mkdir()
        self.environment |= {
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "MENDBOOK_LOG": "debug",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
            "SERVICE_TOKEN": garden.secret("engine_environment"),
            "ANSIBLE_GALAXY_TOKEN": garden.secret("ansible_environment", COVER),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(garden.plant("vault-password", garden.secret("vault_password") + "\n")),
            "ANSIBLE_BECOME_PASSWORD_FILE": str(garden.plant("become", garden.secret("become_file") + "\n")),
            "ANSIBLE_CONNECTION_PASSWORD_FILE": str(garden.plant("connect", garden.secret("connection_file") + "\n")),
        }
        self.lay_out("true" if warm else "false")

    def lay_out(self, warm: str) -> None:
        """Write the project."""
        garden, secret = self.garden, self.garden.secret
        addressed = (
            "page", "page_down", "page_token", "page_moved", "page_wrong", "page_blank", "probe", "probe_token", "heartbeat",
            "heartbeat_key", "notify_password", "notify_token", "notify_dead",
        )  # fmt: skip
        values: dict[str, Any] = {way: secret(way) for way in addressed}
        garden.plant("mendbook.yml", SETTINGS.format(port=self.server.port, warm=warm, **values))
        hosts = ("ansible_password", "become_password", "host_variable", "page_host", "host_address", "composed")
        garden.plant("inventory/hosts.yml", INVENTORY.format(**{way: secret(way) for way in hosts}))
        password = self.root / "vault-password"
        garden.plant(
            "inventory/host_vars/node-1.yml",
            f"signing_key: |\n  -----BEGIN PRIVATE KEY-----\n  {secret('key')}\n  -----END PRIVATE KEY-----\n"
            + vault(password, "encrypt_string", "--stdin-name", "inline", text=secret("inline", COVER)) + "\n",
        )  # fmt: skip
        sealed = json.dumps({"sealed": secret("sealed", COVER)})
        garden.plant("inventory/group_vars/all/vault.yml", vault(password, "encrypt", text=sealed))
        for name, way in (("with_play", "vars_file"), ("harmless", "included")):
            text = vault(password, "encrypt", text=f"{name}: {secret(way)}\n")
            garden.plant(f"playbooks/{'vars' if name == 'with_play' else 'included'}.yml", text)
        garden.plant("half", secret("half"))
        garden.plant("registered", secret("registered"))
        garden.plant("playbooks/conf.j2", "user = app\nall = {{ every }}\n")
        words = {
            "HUSHED": "no_log_result", "LOOPED": "no_log_item", "FACT": "fact", "TASKVAR": "task", "BLOCKVAR": "block",
            "ITEMVAR": "item", "ENVIRON": "task_environment", "ARGUMENT": "argument", "HUSHFAIL": "no_log_failure",
            "HUSHWRONG": "no_log_template", "ASYNC": "no_log_background",
        }  # fmt: skip
        tasks = TASKS
        for word, way in words.items():
            tasks = tasks.replace(word, secret(way))
        head = (
            "- name: Tell\n  hosts: all\n  gather_facts: true\n  vars_files: [vars.yml]\n"
            f"  vars: {{every: {json.dumps(EVERY)}, in_play_password: {secret('play')}}}\n  tasks:\n"
        )
        garden.plant("playbooks/tell.yml", head + "".join(f"    {line}\n" for line in tasks.splitlines()))
        garden.plant("playbooks/roles/teller/defaults/main.yml", f"role_password: {secret('role')}\n")
        said = '- name: Say what the role has\n  ansible.builtin.debug: {msg: "{{ role_password }}"}\n'
        garden.plant("playbooks/roles/teller/tasks/main.yml", said)
        garden.plant("playbooks/mend.yml", PLAYBOOK)
        rungs = "remedies: [{name: Tell, steps: [{playbook: tell.yml, timeout: 60s}]}, {name: Mend,"
        garden.plant("runbooks/broken.yml", RUNBOOK.replace("remedies: [{name: Mend,", rungs))
        (self.root / "hosts.yml").unlink()
        garden.beds.add(self.root / "node" / "conf")

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Run a command; keep what it said."""
        told = self.run(*arguments)
        text = told.stdout + told.stderr
        self.said_by[f"{len(self.said_by)}: mendbook {' '.join(arguments)}"] = text.encode()
        return told.returncode, text

    def ids(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and the id of each incident and execution."""
        with Record(self.where, read_only=True) as record:
            yield from [("incidents", each.id) for each in History(record).incidents()]
            yield from [("runs", each.id) for each in History(record).executions()]

    def ask_everything(self) -> None:
        """Run every command that shows something."""
        for arguments in COMMANDS:
            code, text = self.ask(*arguments)
            assert "Traceback" not in text, (arguments, text)
            assert code in (0, 1), (arguments, code, text)
        for kind, each in list(self.ids()):
            for output in ("table", "json"):
                assert self.ask(kind, "show", each, "-o", output)[0] == 0
            if kind == "runs":
                assert self.ask("runs", "logs", each)[0] == 0

    def found(self) -> list[str]:
        """Return where secrets are that nobody planted there."""
        places = (self.root, Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.home() / ".ansible")
        return self.garden.harvest(places, {**self.said_by, "the engine's log": self.said().encode()})


def old_samples(folder: Path) -> None:
    """Have samples in the store that are old enough to be sealed."""
    with SampleStore(folder, retention=9600.0) as store:
        for age in range(9000, 0, -300):
            series = (Labels({"__name__": "old", "instance": "node-1"}),)
            store.append(Batch(time.time() - age, series, (float(age),)))


def by_hand(project: Project) -> None:
    """Do what operators do, beside the engine or without one."""
    code, text = project.ask("run", "broken", "--limit", "node-1", "--check", "--diff", "--reason", "a look")
    assert "failed" in text, (code, text)
    refused = project.ask("run", "broken", "--limit", "node-1", "-e", f"db_password={project.garden['host_variable']}")
    assert refused[0] == 64 or refused[0] == 2, refused


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_an_engine_and_its_operators_let_no_secret_out(tmp_path: Path, warm: bool) -> None:
    garden = Garden(tmp_path)
    with Project(tmp_path, garden, warm=warm) as project:
        old_samples(tmp_path / "state" / "samples")
        project.start()
        project.until(lambda: project.ticked() > 0, "ticking")
        by_hand(project)
        project.breaks()
        project.until(lambda: project.healed(1), "healed")
        project.ask_everything()
        project.stop()
        project.ask("backup", "backup.db")
        found = project.found()
        assert not found, "\n".join(found)
