"""A callback for Ansible, loaded by ansible-playbook under ansible-runner's own: it prints no results, and points out secrets.

Results reach the supervisor as events, so that printing them, megabytes at times, through a terminal would be waste.
The values of secret variables, those that are vaulted and those whose names look secret, are written to a private file, so that
they can be hidden wherever they turn up: of the hosts at the start of each play, then what tasks are given, set and register.
What is registered under `no_log` is secret, too, whatever its name. Two more files say on which
other machines something of the run may go on when it is over, and whether it ran as another user; what runs there carries the
execution's mark in its environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.parsing.vault import EncryptedString  # type: ignore[import-untyped]
from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]
from ansible.template import Templar  # type: ignore[import-untyped]

try:
    from ansible._internal._datatag._tags import Origin  # type: ignore[import-untyped]
except ImportError:  # private to Ansible, and may move: then only single vaulted values are known
    Origin = None

DOCUMENTATION = """
    name: mendbook_quiet
    type: stdout
    short_description: prints no results and points out secrets
    version_added: "2.19"
    description:
        - The executor reads results as events; printed they would only take time.
    extends_documentation_fragment:
      - result_format_callback
"""

_VAULTED = b"$ANSIBLE_VAULT"
_DEEPEST = 12
_MARK = "MENDBOOK_RUN"  # not the name of the mark on this machine: a node may be this machine, and what asks it must not find itself
_SETTERS = tuple(
    f"{prefix}{name}" for prefix in ("", "ansible.builtin.", "ansible.legacy.") for name in ("include_vars", "set_fact")
)
_LOOKUP = re.compile(r"\b(?:lookup|query|q)\s*\(")
_READING = re.compile(
    r"\b(?:lookup|query|q)\s*\(\s*['\"](?:ansible\.builtin\.)?(?:env|file|ini|csvfile|vars|dict|items)['\"]"
)
"""Lookups that only read: to work one out once more changes nothing."""
_NAME = re.compile(r"[A-Za-z_]\w*")
_REFERENCE = re.compile(r"\s*\{\{\s*[A-Za-z_]\w*\s*\}\}\s*")
_PAUSES = ("pause", "ansible.builtin.pause", "ansible.legacy.pause")
_LOCAL = ("local", "ansible.builtin.local", "ansible.legacy.local")


def _load_secrecy() -> Any:
    """Return the module by its place: ansible-playbook may not have the package on its path."""
    place = Path(__file__).parents[2] / "model" / "secrecy.py"
    specification = importlib.util.spec_from_file_location("mendbook_secrecy", place)
    if specification is None or specification.loader is None:
        raise ImportError(str(place))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Prints what goes wrong outside of tasks, and nothing else."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "mendbook_quiet"

    def __init__(self) -> None:
        super().__init__()
        self._secrecy = _load_secrecy()
        self._found: set[str] = set()
        self._files: dict[str, bool] = {}
        self._remote: set[str] = set()
        self._touched: set[str] = set()
        self._vanished: set[str] = set()
        self._jobs: set[tuple[str, str]] = set()
        self._silent: dict[str, set[str]] = {}
        """Hosts for which something was set or registered without being shown; its names, where they are known."""
        self._seen: set[int] = set()
        self._play: Any = None
        self._hosts: dict[str, Any] = {}
        self._rules = _rules()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Write down the secrets of the play's hosts before the first of its tasks is heard of.

        A play on any host but the frozen ones ends the run before it begins: a name may be a group's as well as a host's.
        """
        place = os.environ.get("MENDBOOK_SECRETS")
        manager = play.get_variable_manager()
        if not place or manager is None:
            return
        hosts = manager._inventory.get_hosts(play.hosts)  # noqa: SLF001 - Ansible has no other way to it
        allowed = json.loads(os.environ["MENDBOOK_HOSTS"])
        if strangers := sorted({host.get_name() for host in hosts}.difference(allowed)):
            self._refuse(f"the play would touch hosts that it was not given: {', '.join(strangers)}")
        self._play = play
        self._hosts = {host.get_name(): host for host in hosts}
        for host in hosts:
            variables = manager.get_vars(play=play, host=host, include_hostvars=False)
            self._settle(host, variables, manager)
            self._found |= self._secrets_of(variables) | self._composed(variables, variables, manager)
            if (variables.get("ansible_connection") or play.connection) not in _LOCAL:
                self._remote.add(host.get_name())
            elif "ansible_async_dir" not in variables and (jobs := os.environ.get("MENDBOOK_JOBS")):
                host.set_variable("ansible_async_dir", jobs)  # Ansible leaves what a job said there under no_log
            if variables.get("ansible_become"):
                self._write("became", ["yes"])
        _mark(play)
        self._write("remote", sorted(self._remote))
        self._write("secrets", sorted(self._found))

    def v2_playbook_on_vars_prompt(self, varname: str, *_: Any, **__: Any) -> None:
        """End a playbook that asks for a variable: nobody answers."""
        self._refuse(f"the playbook asks for the variable {varname!r}, and nobody answers: give it under vars")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's
        """Look at a task before it runs."""
        self._begin(task)

    def _begin(self, task: Any) -> None:
        """Write down that something runs as another user, and what the tasks before this one have set without showing it.

        A pause that lasts until somebody presses a key ends the run, unless a condition may skip it.
        """
        if task.action in _PAUSES and not task.when and not {"seconds", "minutes"} & set(task.args):
            self._refuse(
                f"the task {task.get_name()!r} waits for a key, and nobody presses one: give it seconds or minutes"
            )
        if task.become:
            self._write("became", ["yes"])
        if self._play is None:
            return
        manager = self._play.get_variable_manager()
        found = self._given(task)
        composed = [name for name, value in task.get_vars().items() if self._is_composed(name, value)]
        for host in self._hosts.values() if composed else ():
            variables = manager.get_vars(play=self._play, host=host, task=task, include_hostvars=False)
            found |= self._composed({name: variables.get(name) for name in composed}, variables, manager)
        for name, hushed in self._silent.items():
            if name in self._hosts:
                variables = manager.get_vars(play=self._play, host=self._hosts[name], include_hostvars=False)
                found |= self._secrets_of(variables)
                found |= {text for each in hushed for text in self._secrecy.texts_in(variables.get(each))}
        self._silent.clear()
        self._add(found)

    def _given(self, task: Any) -> set[str]:
        """Return the secrets among what a task, its blocks and its role are given, as it is written."""
        found = self._secrets_of(task.get_vars())
        for value in (task.args, task.loop, task.environment):
            found.update(self._secrets("", value))
        role = task._role  # noqa: SLF001 - Ansible has no other way to it
        if role is not None and id(role) not in self._seen:
            self._seen.add(id(role))
            found |= self._secrets_of(role.get_default_vars()) | self._secrets_of(role.get_vars(include_params=False))
        return found

    def _is_composed(self, name: str, value: Any) -> bool:
        """Return whether a secret's value is a template that is more than another variable's name."""
        if not isinstance(value, str) or isinstance(value, EncryptedString) or "{{" not in value:
            return False
        return self._secrecy.looks_secret(name) and not _REFERENCE.fullmatch(value)

    def _composed(self, some: Mapping[str, Any], variables: Mapping[str, Any], manager: Any) -> set[str]:
        """Return the values of secrets that are templates, where to work one out can have no effect."""
        names = [name for name, value in some.items() if self._is_composed(name, value)]
        if not names:
            return set()
        templar, found = Templar(manager._loader, dict(variables)), set[str]()  # noqa: SLF001 - as above
        for name in names:
            if _only_reads(some[name], variables):
                try:
                    found.update(self._secrets(name, templar.template(some[name])))
                except AnsibleError:
                    continue  # whoever uses it will be told
        return found

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Likewise."""
        self._begin(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Remember what came of a task; ansible-runner's own callback is below this one, so no hook may call another."""
        self._remember(result)

    def _remember(self, result: Any) -> None:
        """Remember which jobs go on by themselves, and the secrets among what was set."""
        host, told, given = result.host.get_name(), result.result, result.task_fields
        self._learn(told)
        self._add({text for name in ("args", "environment") for text in self._secrets("", given.get(name))})
        register = str(given.get("register") or "")
        hidden = "censored" in told
        if (hidden and given.get("action") in _SETTERS) or (
            register and (hidden or self._secrecy.looks_secret(register))
        ):
            hushed = self._silent.setdefault(host, set())  # an encrypted file that is included is not shown either
            hushed.update([register] if register else [])
            if hidden and str(given.get("action")).endswith("set_fact"):
                hushed.update(map(str, given.get("args") or ()))
        self._touched.add(host)
        self._vanished.discard(host)
        alone = bool(result.task_fields.get("async_val")) and not result.task_fields.get("poll")
        job = str(told.get("ansible_job_id") or "")
        if job and told.get("finished"):
            self._jobs.discard((host, job))
        elif job or (alone and "censored" in told):
            self._jobs.add((host, job))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        """Likewise."""
        self._remember(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Likewise."""
        self._remember(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Likewise."""
        self._remember(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Remember who was reached before and is not any more: what was begun there may go on."""
        host = result.host.get_name()
        if host in self._touched:
            self._vanished.add(host)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible's
        """Write down where something may go on though all tasks are over."""
        going = {host for host, _ in self._jobs} | self._vanished
        self._write("remote", sorted(going & self._remote))

    def _settle(self, host: Any, variables: Mapping[str, Any], manager: Any) -> None:
        """Work out our own rules for a host now, where nothing stronger stands; Ansible would do it anew for every task."""
        for name, rule in self._rules.items():
            if variables.get(name) == rule:
                host.set_variable(name, Templar(manager._loader, dict(variables)).template(variables[name]))  # noqa: SLF001 - as above

    def _refuse(self, why: str) -> NoReturn:
        """End the run, and leave why in a file; Ansible swallows any other exception of a callback."""
        self._write("refused", [why])
        raise SystemExit(1)

    def _write(self, name: str, texts: list[str]) -> None:
        """Write a private file beside the one that secrets go to, whole or not at all."""
        place = os.environ.get("MENDBOOK_SECRETS")
        if not place:
            return
        path = Path(place).with_name(name)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(texts), encoding="utf-8")
        fresh.replace(path)

    def _learn(self, told: Mapping[str, Any]) -> None:
        """Write down the secrets among facts that a task has set: by their names, or all that come from an encrypted file."""
        facts = told.get("ansible_facts")
        if not isinstance(facts, Mapping):
            return
        files = told.get("ansible_included_var_files") or ()
        sealed = any(self._is_sealed(str(path)) for path in files)
        self._add({text for name, value in facts.items() for text in self._secrets(name, value, secret=sealed)})

    def _secrets_of(self, variables: Mapping[str, Any]) -> set[str]:
        return {secret for name, value in variables.items() for secret in self._secrets(name, value)}

    def _add(self, found: set[str]) -> None:
        if not found <= self._found:
            self._found |= found
            self._write("secrets", sorted(self._found))

    def _secrets(self, name: object, value: Any, *, secret: bool = False, depth: int = 0) -> Iterator[str]:
        secret = secret or self._secrecy.looks_secret(str(name))
        if depth > _DEEPEST:
            return
        if isinstance(value, Mapping):
            for key, one in value.items():
                yield from self._secrets(key, one, secret=secret, depth=depth + 1)
        elif isinstance(value, (list, tuple)):
            for one in value:
                yield from self._secrets("", one, secret=secret, depth=depth + 1)
        elif isinstance(value, EncryptedString):
            try:
                yield str(value)
            except AnsibleError:
                return  # it cannot be decrypted: nobody can show it
        elif value is not None and not isinstance(value, bool) and (secret or self._vaulted(value)):
            yield str(value)

    def _vaulted(self, value: Any) -> bool:
        """Return whether the value comes from a file that is encrypted as a whole."""
        origin = Origin.get_tag(value) if Origin is not None else None
        path = getattr(origin, "path", None)
        return self._is_sealed(path) if path else False

    def _is_sealed(self, path: str) -> bool:
        """Return whether a file is encrypted as a whole."""
        if path not in self._files:
            try:
                with Path(path).open("rb") as file:
                    self._files[path] = file.read(len(_VAULTED)) == _VAULTED
            except OSError:
                self._files[path] = False
        return self._files[path]


def _only_reads(template: str, variables: Mapping[str, Any]) -> bool:
    """Return whether a template, with the variables that it names and those that they name, looks up nothing that may have an effect."""
    seen: set[str] = set()
    waiting = [template]
    while waiting:
        text = waiting.pop()
        if len(_LOOKUP.findall(text)) != len(_READING.findall(text)):
            return False
        for name in set(_NAME.findall(text)).intersection(variables).difference(seen):
            seen.add(name)
            if isinstance(value := variables[name], str) and not isinstance(value, EncryptedString) and "{{" in value:
                waiting.append(value)
    return True


def _rules() -> Mapping[str, str]:
    """Return the variables that the executor gives to all hosts, as templates."""
    try:
        known = json.loads(Path(os.environ["MENDBOOK_SECRETS"]).with_name("defaults.json").read_bytes())
    except (KeyError, OSError, ValueError):
        return {}
    return dict(known["all"]["vars"])


def _mark(play: Any) -> None:
    """Give every task of the play the execution's mark as a variable of its environment, weaker than what the tasks say themselves.

    Ansible runs a copy of the play, of which only dynamic tasks know; the others ask the play that they were read with.
    """
    mark = {_MARK: os.environ.get("MENDBOOK_EXECUTION", "")}
    blocks = (*play.pre_tasks, *play.tasks, *play.post_tasks, *play.handlers)
    owners = {
        id(owner): owner for owner in (play, *(getattr(block, "_play", None) for block in blocks)) if owner is not None
    }
    for owner in owners.values():
        known = owner.environment
        known = known if isinstance(known, list) else [known] if known else []
        if mark not in known:
            owner.environment = [mark, *known]
