#!/usr/bin/python
"""Brings packages, folders, files and units of a node to a state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_deployed
short_description: Bring packages, folders, files and units of a node to a state in one call
description:
  - One call in place of a task for each file and unit, since what a task costs is mostly getting there.
  - The order is that of the options, but for users. Nothing is touched that is as it should be.
  - A unit that has been running since before one of the files in its RV(restart_on) was written is restarted; so a run that
    was broken off between the two is made good by the next.
author: [Mendbook contributors]
options:
  packages:
    description: Debian packages; those that are missing are installed by C(apt-get).
    type: list
    elements: str
    default: []
  folders:
    description: Folders, in order.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The path., type: path, required: true}
      owner: {description: The owner's name., type: str, default: root}
      group: {description: The group's name., type: str, default: root}
      mode: {description: The mode in octal digits., type: str, default: "0755"}
  files:
    description: >-
      Files with their content. Those below C(/etc/sysusers.d) come into force before anything else, so that folders and files can
      belong to their users.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The path., type: path, required: true}
      content: {description: What the file holds., type: str, required: true}
      owner: {description: The owner's name., type: str, default: root}
      group: {description: The group's name., type: str, default: root}
      mode: {description: The mode in octal digits., type: str, default: "0644"}
      keep: {description: Whether a file that exists already keeps its content., type: bool, default: false}
      validate: {description: "Words of a command that must accept the file, C(%s) for its path.", type: list, elements: str}
  absent:
    description: Files and links that must not be there.
    type: list
    elements: path
    default: []
  units:
    description: Units of systemd.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The unit's full name., type: str, required: true}
      state:
        description: Whether it runs. V(unchanged) leaves that to others; a unit that runs is restarted or reloaded all the same.
        type: str
        choices: [started, stopped, unchanged]
        default: started
      enabled: {description: Whether it starts with the node. Unset leaves that alone., type: bool}
      restart_on: {description: Files that it reads when it starts., type: list, elements: path, default: []}
      reload_on: {description: Files that it reads when it is reloaded., type: list, elements: path, default: []}
attributes:
  check_mode:
    description: Tells what would be done. Whether the units would start it cannot tell.
    support: full
  diff_mode:
    description: Shows files before and after.
    support: full
"""

EXAMPLES = r"""
- name: Deploy the service
  node_deployed:
    files:
      - {path: /etc/app.conf, content: "port = 80\n"}
    units:
      - {name: app.service, enabled: true, restart_on: [/etc/app.conf]}
"""

RETURN = r"""
installed:
  description: Packages that were missing.
  type: list
  elements: str
  returned: always
written:
  description: Paths that were changed.
  type: list
  elements: str
  returned: always
units:
  description: What was done to units, by their names.
  type: dict
  returned: always
"""

import grp
import os
import pwd
import stat
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

SYSUSERS = "/etc/sysusers.d/"
UNIT_FOLDERS = ("/etc/systemd/system/",)
ENABLED = {"enabled", "static", "indirect", "generated", "alias"}
DISABLED = {"disabled", "static", "indirect", "generated", "masked", ""}
SHOWN = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic"


class Deployment:
    """One run: what it found to do, and did unless it only checks."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.installed: list[str] = []
        self.written: list[str] = []
        self.units: dict[str, str] = {}
        self.diffs: list[dict[str, str]] = []

    def run(self, *command: str) -> str:
        """Return what the command printed; fails the module when it fails."""
        _, out, _ = self.module.run_command(list(command), check_rc=True)
        return str(out)

    def install(self, packages: list[str]) -> None:
        if not packages:
            return
        _, out, _ = self.module.run_command(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n", *packages])
        present = {line.split()[-1] for line in out.splitlines() if line.startswith(("ii", "hi"))}
        self.installed = [name for name in packages if name not in present]
        if not self.installed or self.module.check_mode:
            return
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
        self.module.run_command([*apt, "update"], check_rc=True, environ_update=environment)
        install = [*apt, "install", "--no-install-recommends", *self.installed]
        self.module.run_command(install, check_rc=True, environ_update=environment)

    def own(self, path: str, wanted: dict[str, Any]) -> bool:
        """Give the path its owner and mode; true if it had others."""
        try:
            uid, gid = pwd.getpwnam(wanted["owner"]).pw_uid, grp.getgrnam(wanted["group"]).gr_gid
        except KeyError as error:
            if self.module.check_mode:
                return True  # a user that the run would have made before
            self.module.fail_json(msg=f"{path}: there is no such user or group: {error}")
        found = os.stat(path)
        mode = int(wanted["mode"], 8)
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, gid, mode):
            return False
        if not self.module.check_mode:
            os.chown(path, uid, gid)
            os.chmod(path, mode)
        return True

    def folder(self, wanted: dict[str, Any]) -> None:
        path = wanted["path"]
        missing = not os.path.isdir(path)
        if missing and not self.module.check_mode:
            os.makedirs(path, exist_ok=True)
        if missing and self.module.check_mode or self.own(path, wanted) or missing:
            self.written.append(path)

    def file(self, wanted: dict[str, Any]) -> None:
        path, content = wanted["path"], wanted["content"].encode()
        try:
            with open(path, "rb") as stream:
                before: bytes | None = stream.read()
        except FileNotFoundError:
            before = None
        if before is not None and (wanted["keep"] or before == content):
            if self.own(path, wanted):
                self.written.append(path)
            return
        secret = int(wanted["mode"], 8) & 0o004 == 0
        if not secret:
            after = wanted["content"]
            self.diffs.append(
                {"before_header": path, "after_header": path, "before": (before or b"").decode(errors="replace"), "after": after}
            )
        self.written.append(path)
        if self.module.check_mode:
            return
        self.write(path, content, wanted)
        if path.startswith(SYSUSERS):
            self.run("systemd-sysusers", path)

    def write(self, path: str, content: bytes, wanted: dict[str, Any]) -> None:
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder, prefix=".mendbook-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            self.own(draft, wanted)
            if wanted["validate"]:
                self.run(*(word.replace("%s", draft) for word in wanted["validate"]))
            if os.path.ismount(path):  # a container's /etc/hosts cannot be replaced, only written
                with open(path, "wb") as stream:
                    stream.write(content)
            else:
                os.replace(draft, path)
        finally:
            if os.path.exists(draft):
                os.unlink(draft)

    def remove(self, path: str) -> None:
        if os.path.lexists(path):
            self.written.append(path)
            if not self.module.check_mode:
                os.unlink(path)

    def shown(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Return systemd's view of the units, by the names asked for."""
        blocks = self.run("systemctl", "show", f"--property={SHOWN}", "--", *names).strip().split("\n\n")
        return {
            name: dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for name, block in zip(names, blocks, strict=True)
        }

    def newer(self, paths: list[str], since: str) -> bool:
        """Whether one of the files was written after a moment of systemd's monotonic clock."""
        moment = time.time() - (time.monotonic() - int(since or 0) / 1e6)
        return any(os.path.exists(path) and os.stat(path).st_mtime > moment for path in paths)

    def verb(self, wanted: dict[str, Any], found: dict[str, str]) -> str:
        """Return what systemctl must do to the unit, or nothing."""
        running = found.get("ActiveState") in {"active", "activating", "reloading"}
        if wanted["state"] == "stopped":
            return "stop" if running else ""
        if not running:
            return "start" if wanted["state"] == "started" else ""
        ahead = set(self.written) if self.module.check_mode else set()  # what a real run would have written by now
        if ahead & set(wanted["restart_on"]) or self.newer(wanted["restart_on"], found["ActiveEnterTimestampMonotonic"]):
            return "restart"
        if ahead & set(wanted["reload_on"]) or self.newer(wanted["reload_on"], found["StateChangeTimestampMonotonic"]):
            return "reload"
        return ""

    def bring(self, units: list[dict[str, Any]]) -> None:
        """Enable, then stop, start, restart and reload: units of one verb together, since systemd reads all of its files at each call."""
        if not units:
            return
        names = [unit["name"] for unit in units]
        found = self.shown(names)
        stale = any(path.startswith(UNIT_FOLDERS) for path in self.written) or any(
            view.get("NeedDaemonReload") == "yes" for view in found.values()
        )
        for verb, state in (("enable", True), ("disable", False)):
            settled = ENABLED if state else DISABLED
            meant = [unit["name"] for unit in units if unit["enabled"] is state and found[unit["name"]].get("UnitFileState") not in settled]
            self.tell(verb, meant)
            stale = stale and not meant  # systemctl has made systemd read its files
        if stale and not self.module.check_mode:
            self.run("systemctl", "daemon-reload")
        found = self.shown(names)
        verbs = {unit["name"]: self.verb(unit, found[unit["name"]]) for unit in units}
        for verb in ("stop", "start", "restart", "reload"):
            self.tell(verb, [name for name in names if verbs[name] == verb])

    def tell(self, verb: str, names: list[str]) -> None:
        if not names:
            return
        for name in names:
            self.units[name] = f"{self.units.get(name, '')} {verb}".strip()
        if self.module.check_mode:
            return
        code, _, err = self.module.run_command(["systemctl", verb, "--", *names], environ_update={"SYSTEMCTL_SKIP_SYSV": "1"})
        if code:
            _, log, _ = self.module.run_command(
                ["journalctl", "--no-pager", "-o", "cat", "-n", "15", *(f"--unit={name}" for name in names)]
            )
            self.module.fail_json(
                msg=f"systemctl {verb} {' '.join(names)}: {err.strip()}", journal=log.splitlines(), units=self.units, written=self.written
            )


def main() -> None:
    ownership = {
        "path": {"type": "path", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
    }
    file = {
        "content": {"type": "str", "required": True, "no_log": False},
        "mode": {"type": "str", "default": "0644"},
        "keep": {"type": "bool", "default": False},
        "validate": {"type": "list", "elements": "str"},
    }
    unit = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["started", "stopped", "unchanged"], "default": "started"},
        "enabled": {"type": "bool"},
        "restart_on": {"type": "list", "elements": "path", "default": []},
        "reload_on": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "folders": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": ownership | {"mode": {"type": "str", "default": "0755"}},
            },
            "files": {"type": "list", "elements": "dict", "default": [], "options": ownership | file},
            "absent": {"type": "list", "elements": "path", "default": []},
            "units": {"type": "list", "elements": "dict", "default": [], "options": unit},
        },
        supports_check_mode=True,
    )
    deployment = Deployment(module)
    deployment.install(module.params["packages"])
    users = [wanted for wanted in module.params["files"] if wanted["path"].startswith(SYSUSERS)]
    for wanted in users:
        deployment.file(wanted)
    for folder in module.params["folders"]:
        deployment.folder(folder)
    for wanted in module.params["files"]:
        if wanted not in users:
            deployment.file(wanted)
    for path in module.params["absent"]:
        deployment.remove(path)
    deployment.bring(module.params["units"])
    changed = bool(deployment.installed or deployment.written or deployment.units)
    module.exit_json(
        changed=changed, installed=deployment.installed, written=deployment.written, units=deployment.units, diff=deployment.diffs
    )


if __name__ == "__main__":
    main()
