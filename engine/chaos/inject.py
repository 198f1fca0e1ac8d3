"""Injects and takes back: by playbooks on the node, by fence commands on the controller. What is done was journalled before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.chaos.actions import CHAOS_MESH, OWN, Action, Kind
from engine.chaos.experiment import Hit
from engine.chaos.journal import Journal, Undo
from engine.chaos.manifest import span
from engine.chaos.place import GROUP, DrillError, Node, frozen_inventory
from engine.chaos.probes import answers_ssh

PLAYBOOK = Path(__file__).parent / "playbooks" / "chaos.yml"
LONGEST_PLAY = 300.0
LONGEST_POWER = 60.0
"""Seconds that a play, and that a fence command may take."""
LAB_FOLDER = 4
"""The word of `mendbook lab power --dir FOLDER NODE on` that names the lab's folder."""
CUT_OFF = frozenset({"network-partition", "network-down", "network-loss"})
"""After these the node may not answer until they end by themselves."""
_EFFECT = re.compile(r"chaos-effect=([0-9]+\.[0-9]+)")
_FAILED = re.compile(r"(?:fatal|ERROR)[^\n]*")


class InjectionError(DrillError):
    """An injection took no effect, or could not be taken back."""


@dataclass(frozen=True, slots=True)
class Injector:
    """Injects into nodes and takes back; `say` tells people what is done."""

    journal: Journal
    scratch: Path
    say: Callable[[str], None]

    def inject(self, drill: str, hit: Hit, node: Node) -> tuple[Undo, float]:
        """Do it; return its undo, which is on disk, and when it took effect. Raises InjectionError."""
        parameters = dict(hit.parameters or hit.injection.parameters)
        if "for-good" in parameters:
            parameters["broken"] = str(broken_of(node))
        undo = Undo(
            id=f"{time.time():.6f}-{uuid.uuid4().hex[:8]}",
            drill=drill,
            action=hit.injection.action,
            node=node.name,
            parameters=parameters,
            inventory=frozen_inventory([node]),
            duration=hit.injection.duration,
            at=time.time(),
        )
        self.journal.write(undo)
        self.say(f"injecting {undo.action} into {undo.node}")
        if action(undo.action).tasks is None:
            return undo, self.power_off(undo, node)
        return undo, self.play(undo, "inject")

    def undo(self, undo: Undo) -> None:
        """Take it back and forget it; safe to repeat. Raises InjectionError, and then it stays in the journal."""
        self.say(f"undoing {undo.action} on {undo.node}")
        if undo.action == "power-off":
            self.power_on(undo)
        elif action(undo.action).tasks is not None:
            if undo.action in CUT_OFF:
                self.wait_for_end(undo)
            self.play(undo, "undo")
        self.journal.done(undo)

    def undo_all(self) -> int:
        """Take back whatever is still in the journal, the newest first; return how many.

        One that cannot be taken back keeps none of the others from it. Raises InjectionError that names those.
        """
        pending, failed = self.journal.pending(), []
        for undo in pending:
            try:
                self.undo(undo)
            except InjectionError as error:
                failed.append(str(error))
        if failed:
            raise InjectionError("; ".join(failed))
        return len(pending)

    def play(self, undo: Undo, way: str) -> float:
        """Run the tasks of an action; return when the act began. Raises InjectionError with what Ansible complains of."""
        variables = variables_of(undo, way)
        with tempfile.TemporaryDirectory(prefix="play-", dir=self.scratch) as private:
            inventory = Path(private) / "inventory.json"
            inventory.write_text(undo.inventory)
            done = ansible(inventory, undo.node, variables, Path(private))
        effect = _EFFECT.search(done.stdout)
        if done.returncode != 0 or (way == "inject" and effect is None):
            found = _FAILED.findall(done.stdout + done.stderr)
            said = found[-1] if found else (done.stderr or done.stdout).strip()[-400:]
            raise InjectionError(f"{way} of {undo.action} on {undo.node} failed: {said}")
        return float(effect[1]) if effect is not None else time.time()

    def power_off(self, undo: Undo, node: Node) -> float:
        """Cut a node's power, for good if that is wanted; return when."""
        if "broken" in undo.parameters:
            Path(str(undo.parameters["broken"])).touch()
        at = time.time()
        run_power(node, "fence_off_command")
        return at

    def power_on(self, undo: Undo) -> None:
        """Have the node running again and answering."""
        node = journalled(undo)
        if "broken" in undo.parameters:
            Path(str(undo.parameters["broken"])).unlink(missing_ok=True)
        run_power(node, "fence_on_command")
        wait_until(
            lambda: answers_ssh(node), LONGEST_POWER, f"{node.name} does not come back after its power is on again"
        )

    def wait_for_end(self, undo: Undo) -> None:
        """Wait until a node that was cut off answers again: its own clock ends that at the latest."""
        node = journalled(undo)
        left = max(0.0, undo.at + undo.duration - time.time()) + LONGEST_POWER
        if not answers_ssh(node):
            self.say(f"{node.name} is cut off; its own clock ends that within {left:.0f}s")
        wait_until(lambda: answers_ssh(node), left, f"{node.name} is still cut off")


def action(name: str) -> Action:
    """Return what is known of an action, by its name. Raises InjectionError for one that there is not."""
    found = CHAOS_MESH.get(name) or OWN.get(name)
    if found is None:
        raise InjectionError(f"there is no action {name!r}")
    return found


def variables_of(undo: Undo, way: str) -> dict[str, object]:
    """Return the variables of the playbook; a duration is also told in seconds."""
    known = action(undo.action)
    variables: dict[str, object] = {
        "chaos_tasks": f"{known.tasks}_{way}.yml",
        "chaos_id": undo.id.replace(".", "-"),
        "chaos_lasts": int(undo.duration),
    }
    for name, value in undo.parameters.items():
        word = f"chaos_{name.replace('-', '_').lower()}"
        variables[word] = value
        if (known.spec.get(name) or known.more[name]).kind is Kind.SPAN:
            variables[f"{word}_seconds"] = int(span(str(value)) or 0)
    return variables


def journalled(undo: Undo) -> Node:
    """Return the node as it was written down with the undo."""
    return Node(undo.node, frozenset({GROUP}), json.loads(undo.inventory)[GROUP]["hosts"][undo.node])


def ansible(
    inventory: Path, node: str, variables: Mapping[str, object], private: Path
) -> subprocess.CompletedProcess[str]:
    """Run the one playbook of drills on one node, with nothing of the caller's own Ansible settings."""
    program = Path(sys.executable).parent / "ansible-playbook"
    command = [str(program), "-i", str(inventory), "--limit", node, "-e", json.dumps(variables), str(PLAYBOOK)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    settings = private / "ansible.cfg"
    settings.touch()
    environment |= {
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(private),
        "ANSIBLE_LOCAL_TEMP": str(private),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private),
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_PLAY,
            env=environment,
            check=False,
            start_new_session=True,  # Ctrl-C is ours: it ends the drill, not the undo that follows
        )
    except FileNotFoundError as error:
        raise InjectionError(f"{program} is missing: install ansible-core beside mendbook") from error
    except subprocess.TimeoutExpired as error:
        raise InjectionError(f"the playbook did not end within {LONGEST_PLAY:.0f}s") from error


def broken_of(node: Node) -> Path:
    """Return the file by which `mendbook lab power` knows that a node cannot be switched on. Raises InjectionError for another switch."""
    command = node.command("fence_on_command")
    if command[1:4] != ("lab", "power", "--dir") or len(command) <= LAB_FOLDER:
        raise InjectionError(
            f"the power of {node.name} is not switched by `mendbook lab power`, which alone can be broken"
        )
    return Path(command[LAB_FOLDER]) / f"power-{node.name}.broken"


def run_power(node: Node, name: str) -> None:
    """Run a fence command of a node on the controller."""
    command = node.command(name)
    if not command:
        raise InjectionError(f"the inventory has no {name} for {node.name}: its power cannot be switched")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_POWER, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InjectionError(f"{name} of {node.name}: {error}") from error
    if done.returncode != 0:
        raise InjectionError(f"{name} of {node.name} failed: {(done.stderr or done.stdout).strip()[-400:]}")


def wait_until(holds: Callable[[], bool], patience: float, otherwise: str) -> None:
    """Wait until something holds. Raises InjectionError when it takes longer than `patience` seconds."""
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() >= end:
            raise InjectionError(otherwise)
        time.sleep(0.5)
