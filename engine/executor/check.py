"""Asks Ansible itself whether it can read a playbook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.executor import worker
from engine.executor.journal import printable, shortened

_PATIENCE = 60.0


def syntax_check(playbook: Path, inventory: Sequence[Path] = ()) -> str | None:
    """Return what Ansible says is wrong with a playbook, with its file, line and column; None when it can be run."""
    hosts = [str(path.absolute()) for path in inventory] or ["localhost,"]
    with tempfile.TemporaryDirectory(prefix="mendbook-") as private:
        surroundings = {
            **worker.passed(os.environ),
            "PATH": worker.search_path(os.environ.get("PATH", "")),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": private,
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_LOCALHOST_WARNING": "False",
        }
        program = shutil.which("ansible-playbook", path=surroundings["PATH"])
        if program is None:
            return f"ansible-playbook was not found beside {sys.executable} nor on PATH"
        command = [program, "--syntax-check", *(word for host in hosts for word in ("-i", host))]
        try:
            done = subprocess.run(
                [*command, "--", str(playbook.absolute())],
                env=surroundings,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"ansible-playbook --syntax-check took longer than {_PATIENCE:g} s"
    if done.returncode == 0:
        return None
    said = printable((done.stderr + done.stdout).decode("utf-8", "replace"))
    begin = min((at for sign in ("[ERROR]", "ERROR!") if (at := said.find(sign)) >= 0), default=0)
    return shortened(said[begin:].strip(), 2048) or f"ansible-playbook --syntax-check ended with {done.returncode}"
