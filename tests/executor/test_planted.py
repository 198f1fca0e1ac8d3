"""A whole project with secrets planted wherever they come in: an engine and people work with it, and no secret gets out."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engine.model.labels import Batch, Labels
from engine.records.history import History
from engine.records.store import Record
from engine.samples.store import SampleStore
from tests.e2e.watched import PLAYBOOK, RUNBOOK, Watched
from tests.executor.planting import COVER, Garden, vault
from tests.lab_tools.postgres_server import PostgresServer, missing

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
- name: Set it where nobody sees
  ansible.builtin.set_fact: {plain_name: "HIDDENFACT"}
  no_log: true
- name: Say what nobody saw
  ansible.builtin.debug: {msg: "{{ plain_name }}"}
- name: Take what is in the background
  ansible.builtin.command: "echo ASYNC"
  async: 30
  ignore_errors: true
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

    def __init__(
        self, root: Path, garden: Garden, where: str | None = None, *, warm: bool = True, verbosity: int = 0
    ) -> None:
        super().__init__(root, where)
        self.garden = garden
        self.said_by: dict[str, bytes] = {}
        self.more: tuple[Path, ...] = ()
        """Other places in which secrets are looked for, compressed ones too."""
        for name in ("home", "tmp"):
            (root / name).mkdir()
        self.environment |= {
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "MENDBOOK_LOG": "debug",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
            "ANSIBLE_VERBOSITY": str(verbosity),
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
            "HIDDENFACT": "no_log_fact",
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
        told = {**self.said_by, "the engine's log": self.said().encode()}
        shared = (
            Path("/tmp"),
            Path("/dev/shm"),
            Path("/var/tmp"),
            Path.home() / ".ansible",
            Path.home() / ".ansible_async",
        )
        return self.garden.harvest([self.root, *self.more], told, shared)


def old_samples(folder: Path) -> None:
    """Have samples in the store that are old enough to be sealed."""
    with SampleStore(folder, retention=9600.0) as store:
        for age in range(9000, 0, -300):
            series = (Labels({"__name__": "old", "instance": "node-1"}),)
            store.append(Batch(time.time() - age, series, (float(age),)))


def asked_by_hand(project: Project) -> None:
    """Do what operators do, beside the engine or without one."""
    code, text = project.ask("run", "broken", "--limit", "node-1", "--check", "--diff", "--reason", "a look")
    assert "failed" in text, (code, text)
    code, text = project.ask(
        "run", "broken", "--limit", "node-1", "-e", f"db_password={project.garden['host_variable']}"
    )
    assert code == 64, text
    assert "looks like a secret" in text


def told_tasks(project: Project) -> set[str]:
    """Return the names of the tasks of which the record knows how they went."""
    with Record(project.where, read_only=True) as record:
        history = History(record)
        return {event.task for each in history.executions() if not each.check for event in history.events_of(each.id)}


def check(project: Project) -> None:
    """Assert that everything was played to its end, that whoever is given a secret got it, and that nobody else did."""
    garden = project.garden
    tasks = {line.partition("name: ")[2] for line in TASKS.splitlines() if "- name:" in line} - {"Give it to several"}
    missing_tasks = {name for name in tasks - told_tasks(project) if "{{" not in name}
    assert not missing_tasks
    calls = " ".join([*project.server.paths, *map(str, project.server.headers)])
    for way in ("heartbeat", "heartbeat_key", "notify_token"):
        assert garden[way] in calls, way
    page = base64.b64encode(f"reader:{garden['page']}".encode()).decode()
    assert page in calls
    found = project.found()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_an_engine_and_those_who_work_beside_it_let_no_secret_out(tmp_path: Path, warm: bool) -> None:
    with Project(tmp_path, Garden(tmp_path), warm=warm) as project:
        old_samples(tmp_path / "state" / "samples")
        project.start()
        project.until(lambda: project.ticked() > 0, "ticking")
        asked_by_hand(project)
        project.breaks()
        project.until(lambda: project.healed(1), "healed")
        project.until(lambda: any("/hook/" in path for path in project.server.paths), "told of")
        if warm:
            project.ask_everything()
        assert list((tmp_path / "state" / "samples").glob("*.sealed"))
        assert (tmp_path / "state" / "record.sqlite3-wal").exists()
        check(project)
        project.stop(signal.SIGKILL)
        code, text = project.ask("backup", "backup.db")
        assert code == 0, text
        check(project)


def test_operators_without_an_engine_let_no_secret_out(tmp_path: Path) -> None:
    with Project(tmp_path, Garden(tmp_path), verbosity=4) as project:
        project.breaks()
        asked_by_hand(project)
        code, text = project.ask("plan", "--out", "plan.json")
        assert code == 0, text
        code, text = project.ask("run", "--plan", "plan.json", "--reason", "as planned")
        assert "failed" in text, (code, text)
        code, text = project.ask("audit", "--remediate")
        assert not project.broken.exists(), (code, text)
        project.ask_everything()
        found = project.found()
        assert not found, "\n".join(found)


@pytest.mark.lab
def test_a_record_in_a_database_server_has_no_secret_nor_that_of_the_server(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    server = PostgresServer().start()
    garden = Garden(tmp_path)
    password = garden.secret("database")
    url = server.url().replace("@", f":{password}@")
    try:
        with Project(tmp_path, garden, f"{url}&sslpassword={garden.secret('database_key')}") as project:
            project.start()
            project.until(lambda: "watching" in project.said() and project.ticked() > 0, "ticking")
            project.breaks()
            project.until(lambda: project.healed(1), "healed")
            project.until(lambda: any("/hook/" in path for path in project.server.paths), "told of")
            project.ask_everything()
            project.stop()
            server.stop()  # it writes what it has
            server.start()
            project.more = (server.folder,)
            check(project)
    finally:
        server.close()


def test_what_is_planted_is_found_however_it_is_written(tmp_path: Path) -> None:
    garden = Garden(tmp_path)
    secret = garden.secret("any", COVER)
    ways: dict[str, bytes] = {
        "plain": secret.encode(),
        "inside": f"x{secret}y".encode(),
        "json": json.dumps({"a": [secret]}).encode(),
        "address": quote(secret, safe="").encode(),
        "base64": base64.b64encode(f"user:{secret}".encode()),
        "base64 of addresses": base64.urlsafe_b64encode(f"\xff\xfe{secret}".encode()),
        "hexadecimal": secret.encode().hex().encode(),
        "wide": secret.encode("utf-16"),
        "compressed": b"head" + zlib.compress(b"text " + secret.encode()) + b"tail",
        "gzip": gzip.compress(secret.encode()),
    }
    for name, text in ways.items():
        (tmp_path / name).write_bytes(text)
    garden.plant("planted", secret)
    (tmp_path / "clean").write_text("planted is nothing")
    (tmp_path / f"named-{garden.secrets['any'].core}").touch()
    found = garden.harvest([tmp_path], {"somebody": secret.encode(), "nobody": b""})
    assert {line.rpartition("/")[2] for line in found if "the name" not in line} == {*ways, "any in somebody"}
    assert sum("the name" in line for line in found) == 1
