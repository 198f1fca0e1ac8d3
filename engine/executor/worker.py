"""Runs one step through ansible-runner and tells what happens, line by line; the one place that imports ansible_runner.

It runs in a process of its own, forked off the supervisor: whatever becomes of it, a hang or a crash, the supervisor
lives to say so.
"""

from __future__ import annotations

import configparser
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.executor import folder as folders
from engine.executor import jobs
from engine.executor.events import Playback
from engine.executor.inputs import Step
from engine.executor.journal import printable
from engine.executor.order import Order
from engine.executor.processes import MARK
from engine.executor.scrub import Scrubber
from engine.executor.warm.starts import Cold, Reason

if TYPE_CHECKING:
    from engine.executor.warm.stage import Stage

_PASSED = frozenset(
    {"HOME", "USER", "LOGNAME", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"}
)
_PASSED_PREFIXES = ("LC_", "ANSIBLE_")
_LARGEST_RESULT = str(32 << 20)
_PLUGINS = Path(__file__).parent / "plugins"
_LONGEST_PRINT = 64 << 10
_LONGEST_SOCKET_FOLDER = 76  # of 107 characters; Ansible and ssh add up to 28, and a slash each
_MOST_COMPLAINTS = 16 << 10


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that playbooks get to see."""
    found = {name: value for name, value in environment.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    spoken = next((found[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if found.get(name)), "")
    if "utf8" not in spoken.lower().replace("-", ""):
        found["LC_ALL"] = "C.UTF-8"  # Ansible refuses any other encoding, and cron sets none
    return found


def search_path(known: str) -> str:
    """Return where programs are looked for: first beside the interpreter, whether or not anybody has activated it."""
    return f"{Path(sys.executable).parent}:{known or '/usr/local/bin:/usr/bin:/bin'}"


def environment(step: Step, order: Order, private: Path) -> dict[str, str]:
    """Return the environment of ansible-playbook: what was ordered, the execution's mark, and our ways."""
    found = order.environment
    return {
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_NOCOLOR": "1",
        "TERM": "dumb",
        **_connections(private),
        **pipelined(found),
        **jobs.surroundings(order.id, _settled(found)),
        **found,
        "PATH": search_path(found.get("PATH", "")),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_CALLBACK_PLUGINS": ":".join(filter(None, (str(_PLUGINS), found.get("ANSIBLE_CALLBACK_PLUGINS")))),
        "ANSIBLE_STDOUT_CALLBACK": "mendbook_quiet",
        "MENDBOOK_HOSTS": json.dumps(step.hosts),
        "MENDBOOK_SECRETS": str(private / "env" / "secrets"),
        "MAX_EVENT_RES": _LARGEST_RESULT,
        "PYTHONUNBUFFERED": "1",
        MARK: order.id,
    }


def _connections(private: Path) -> dict[str, str]:
    """Return where this execution's ssh connections live: shared ones would end with whoever opened them."""
    folder = str(private / "ssh")
    return {"ANSIBLE_SSH_CONTROL_PATH_DIR": folder} if len(folder) <= _LONGEST_SOCKET_FOLDER else {}


def pipelined(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the setting that sends modules over the connection that runs them, three round trips fewer for each task.

    Hosts whose sudo insists on a terminal need it off: whoever has settled it, either way, is left alone.
    """
    settled = _settled(environment) & {"ANSIBLE_PIPELINING", "ANSIBLE_SSH_PIPELINING", "pipelining"}
    return {} if settled else {"ANSIBLE_PIPELINING": "True"}


def _defaults(order: Order, private: Path) -> str:
    """Return an inventory without hosts: the weakest of variables, for hosts that are this machine.

    Anything that the inventory, a playbook or Ansible's own settings say is stronger or left alone.
    """
    settled = _settled(order.environment)
    variables = {}
    if not settled & {"ANSIBLE_PYTHON_INTERPRETER", "interpreter_python"}:
        variables["ansible_python_interpreter"] = ("ansible_playbook_python", "auto")
    if not settled & {"ANSIBLE_REMOTE_TEMP", "ANSIBLE_REMOTE_TMP", "remote_tmp"}:
        variables["ansible_remote_tmp"] = (json.dumps(str(private / "tmp")), "~/.ansible/tmp")
    local = "ansible_connection | default('') == 'local'"
    rules = {name: f"{{{{ {here} if {local} else '{there}' }}}}" for name, (here, there) in variables.items()}
    return json.dumps({"all": {"vars": rules}})


def _settled(environment: Mapping[str, str]) -> set[str]:
    """Return the names of what the user has settled, by variables of the environment or in the file that Ansible will read."""
    files = [environment.get("ANSIBLE_CONFIG", ""), str(Path.home() / ".ansible.cfg"), "/etc/ansible/ansible.cfg"]
    settings = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    for path in filter(None, files):
        try:
            if settings.read(path, encoding="utf-8"):
                break
        except (configparser.Error, ValueError):
            break  # Ansible will say so
    return {*environment, *(name for section in settings.sections() for name in settings[section])}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


class _Teller:
    """Hands lines to the supervisor from a thread: whoever calls never waits, as ansible-runner's handlers must not."""

    def __init__(self, pipe: int, output: Path, keep: int, scrubber: Scrubber) -> None:
        self._queue: queue.SimpleQueue[tuple[dict[str, Any] | None, str] | None] = queue.SimpleQueue()
        self._pipe = pipe
        self._output = output
        self._room = keep
        self._scrubber = scrubber
        self._thread: threading.Thread | None = None

    def learn(self, secrets: list[str]) -> None:
        """Hide these from now on, here and in the journal."""
        self._scrubber.learn(secrets)
        self._put(({"secrets": secrets}, ""))

    def tell(self, line: dict[str, Any] | None, output: str = "") -> None:
        """Hand over an event, and what was printed for it."""
        self._put((line, output if len(output) <= _LONGEST_PRINT else f"… {len(output)} characters …"))

    def close(self) -> None:
        """Return when everything was handed over."""
        self._put(None).join()

    def _put(self, item: tuple[dict[str, Any] | None, str] | None) -> threading.Thread:
        """Hand over to the thread, which does not begin earlier: a process with threads had better not be forked."""
        self._queue.put(item)
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()
        return self._thread

    def _tell(self) -> None:
        descriptor = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(self._pipe, "wb", buffering=0) as pipe, os.fdopen(descriptor, "wb", buffering=0) as kept:
            while (item := self._queue.get()) is not None:
                line, output = item
                if line is not None:
                    pipe.write(json.dumps(line).encode() + b"\n")
                if output and self._room > 0:
                    text = printable(self._scrubber(output)).encode() + b"\n"
                    self._room -= len(text)
                    try:
                        kept.write(text if self._room >= 0 else text[: self._room] + b"\n")
                    except OSError:
                        self._room = 0  # a full disk


def _furnish(step: Step, order: Order, private: Path) -> None:
    """Write the files that ansible-runner and Ansible read."""
    (private / "tmp").mkdir(mode=0o700, parents=True)
    _write(private / "env" / "extravars", step.variables)
    _write(private / "env" / "settings", json.dumps({"suppress_output_file": True, "pexpect_timeout": 0.5}))
    _write(private / "env" / "defaults.json", _defaults(order, private))


def _runner(step: Step, order: Order, private: Path, variables: dict[str, str], **handlers: Any) -> Any:
    """Return ansible-runner's own runner of a step, after writing the files that it reads."""
    import ansible_runner.interface  # noqa: PLC0415 - a third of a second that the supervisor need not wait for

    _furnish(step, order, private)
    runner = ansible_runner.interface.init_runner(
        private_data_dir=str(private),
        ident="run",
        playbook=str(step.playbook),
        inventory=[str(private / "env" / "defaults.json"), *map(str, order.inventory)],
        limit=step.limit,
        envvars=variables,
        cmdline=_flags(order),
        fact_cache_type="none",
        suppress_env_files=True,
        quiet=True,
        cancel_callback=lambda: False,
        **handlers,
    )
    if "ANSIBLE_HOST_KEY_CHECKING" not in variables:
        runner.config.env.pop("ANSIBLE_HOST_KEY_CHECKING", None)  # runner would switch it off
    return runner


def rehearsed(step: Step, order: Order, private: Path) -> tuple[dict[str, str], str]:
    """Return with which environment, and in which folder, ansible-playbook would be begun for a step; it is not begun."""
    variables = environment(step, order, private)
    os.environ.clear()
    os.environ.update(variables)
    config = _runner(step, order, private, variables).config
    return dict(config.env), str(config.cwd)


def run(step: Step, order: Order, private: Path, pipe: int, stage: Stage | None = None) -> None:
    """Run a step to its end, telling events and at last how it ended; on a stage, where there is one.

    The last line is `{"end": {"rc": …, "stats": …, "unmatched": […], "complaints": "…"}}`; when it is missing, this process was killed.
    """
    variables = environment(step, order, private)
    os.environ.clear()
    os.environ.update(variables)
    from ansible_runner.exceptions import AnsibleRunnerException  # noqa: PLC0415 - as above
    from ansible_runner.runner import pexpect  # noqa: PLC0415 - its own, which has no types

    from engine.executor.warm import spawn  # noqa: PLC0415 - it needs the same

    reason, detail = order.cold
    spawn.install(private.parents[2], stage, Cold(Reason(reason), detail))
    teller = _Teller(pipe, private / "output", order.keep_output, Scrubber(order.secrets()))
    playback = Playback()

    known: list[int] = []

    def hear(event: dict[str, Any]) -> bool:
        if (changed := _changed(private / "env" / "secrets")) not in known:
            known[:] = [changed]
            teller.learn(folders.read_list(private / "env" / "secrets"))
        teller.tell(playback.read(event), str(event.get("stdout") or ""))
        return False  # keep no file of it

    def forget(status: dict[str, Any], **_: Any) -> None:
        if status.get("status") == "running":  # the command's environment has just been written down
            (private / "artifacts" / "run" / "command").unlink(missing_ok=True)

    trouble = ""
    code: int | None = None
    try:
        runner = _runner(step, order, private, variables, event_handler=hear, status_handler=forget)
        runner.run()
        code = runner.rc
    except (AnsibleRunnerException, pexpect.exceptions.ExceptionPexpect, OSError, ValueError) as error:
        trouble = f"ansible-runner: {type(error).__name__}: {error}"
    refused = folders.read_list(private / "env" / "refused")  # by our callback, which ended the run
    complaints = "\n".join([*playback.complaints, *refused, *([trouble] if trouble else [])])[-_MOST_COMPLAINTS:]
    end = {"rc": code, "stats": playback.stats, "unmatched": playback.unmatched, "complaints": complaints}
    teller.tell({"end": end})
    teller.close()


def _changed(path: Path) -> int:
    """Return something that differs once a file was replaced."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _flags(order: Order) -> str | None:
    flags = [f"--{name}" for name in ("check", "diff") if order.execution[name]]
    return " ".join(flags) or None
