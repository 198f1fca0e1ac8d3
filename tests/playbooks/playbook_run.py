"""Runs the shipped playbooks and their modules as people do, and reads what came of it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
_RECAP = re.compile(r"^(\S.*?)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of a playbook printed, and its sums over all hosts."""

    output: str
    hosts: tuple[str, ...]
    changed: int
    failed: int


def play(
    name: str, inventory: Path, *arguments: str, variables: dict[str, object] | None = None, path: str = ""
) -> Run:
    """Run a shipped playbook by hand with `ansible-playbook`, which lies beside this interpreter."""
    folder = Path(sys.executable).parent
    environment = {
        "PATH": os.pathsep.join(filter(None, [path, str(folder), os.environ["PATH"]])),
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",  # as the engine runs them: a module is not copied over first
    }
    command = [str(folder / "ansible-playbook"), "-i", str(inventory), str(PLAYBOOKS / f"{name}.yml"), *arguments]
    if variables:
        command += ["-e", json.dumps(variables)]
    done = subprocess.run(
        command, env=environment, cwd=inventory.parent, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    output = done.stdout + done.stderr
    recap = _RECAP.findall(output)
    assert recap, f"no host was acted on; the run said:\n{output}"
    return Run(
        output=output,
        hosts=tuple(host for host, *_ in recap),
        changed=sum(int(changed) for _, _, changed, _, _ in recap),
        failed=sum(int(failed) + int(unreachable) for _, _, _, unreachable, failed in recap),
    )


def run_module(name: str, *, check: bool = False, diff: bool = False, **arguments: object) -> dict[str, Any]:
    """Run one of the roles' modules as Ansible runs it on a host, and return its result.

    Each runs in a process of its own, forked from one that has imported what all modules import, which takes longest.
    """
    (module,) = PLAYBOOKS.glob(f"roles/*/library/{name}.py")
    told = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_version": "2.19"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").write_text(json.dumps({"ANSIBLE_MODULE_ARGS": told}))
        nursery = _nursery()
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        nursery.stdin.write(json.dumps([str(module), folder, dict(os.environ)]) + "\n")
        nursery.stdin.flush()
        assert nursery.stdout.readline() == "done\n"
        output = (Path(folder) / "out").read_text()
    result = json.loads(output[output.index("{") :])
    assert isinstance(result, dict)
    return result


_NURSERY = """
import json, os, runpy, sys
import ansible.module_utils.basic

def bear(module, folder, environment):
    for number, name, flags in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(os.path.join(folder, name), flags), number)
    os.dup2(1, 2)
    sys.stdin = open(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    runpy.run_path(module, run_name="__main__")

for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if child == 0:
        bear(*json.loads(line))
        os._exit(0)
    os.waitpid(child, 0)
    print("done", flush=True)
"""


@functools.cache
def _nursery() -> subprocess.Popen[str]:
    """Return the process that modules are forked from; it ends with its standard input."""
    nursery = subprocess.Popen(
        [sys.executable, "-P", "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, nursery)
    return nursery


def _end(nursery: subprocess.Popen[str]) -> None:
    nursery.communicate(timeout=_SECONDS)
