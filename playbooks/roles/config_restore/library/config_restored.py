#!/usr/bin/python
"""Puts the last configuration that worked in the place of one that does not."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_restored
short_description: Put the last good configuration back
description:
  - A configuration that passes its check is left alone, and so is one that equals the last good one.
  - The good one must pass the check, too. The other is set aside beside it, and nothing there is ever overwritten.
author: [Mendbook contributors]
options:
  path:
    description: The configuration in force.
    type: path
    required: true
  good:
    description: The last configuration that worked.
    type: path
    required: true
  check:
    description:
      - A program and its arguments that ends with 0 when a configuration can be used; V(%s) stands for the file's path.
      - Without it, a configuration is in order when it equals the good one.
    type: list
    elements: str
    default: []
  attempt:
    description: The attempt's identity, which names what is set aside.
    type: str
    default: ""
attributes:
  check_mode:
    description: Both files are checked, and nothing is written.
    support: full
  diff_mode:
    description: Shows the configuration before and after.
    support: full
"""

EXAMPLES = r"""
- name: Put the last good configuration back
  config_restored:
    path: /etc/app/app.conf
    good: /var/lib/app/last-good.conf
    check: [/usr/bin/app, --check, --config, "%s"]
"""

RETURN = r"""
aside:
  description: Where the old configuration is now; empty when none was moved.
  type: str
  returned: always
reason:
  description: Why it was, or was not, replaced.
  type: str
  returned: always
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

LIMIT = 1 << 20


class Trouble(Exception):
    """It cannot be done; nothing was changed."""


def text_of(path: Path) -> str:
    """Return what is in a file, as far as it may be shown; empty when there is none."""
    try:
        return path.read_bytes()[:LIMIT].decode("utf-8", "replace")
    except OSError:
        return ""


def passes(module: AnsibleModule, check: list, path: str) -> bool:
    """Whether the configuration passes the check."""
    code, _, _ = module.run_command([word.replace("%s", path) for word in check], check_rc=False)
    return code == 0


def due(module: AnsibleModule, path: Path, good: Path) -> tuple[bool, str]:
    """Say whether the good configuration is to be put in the other's place, and why."""
    check = module.params["check"]
    if good.is_symlink() or not good.is_file():
        raise Trouble(f"{good} is no regular file: there is no configuration that is known to have worked")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise Trouble(f"{path} is not a regular file")
    if path.exists() and path.read_bytes() == good.read_bytes():
        return False, f"{path} equals {good}, the last that worked"
    if check and path.exists() and passes(module, check, str(path)):
        return False, f"{path} differs from {good}, but passes its check"
    if check and not passes(module, check, str(good)):
        raise Trouble(f"{good} does not pass the check either; nothing was touched")
    return True, f"{path} is not in order, and {good} is the last that worked"


def aside_of(path: Path, attempt: str) -> Path:
    """Return a path beside the configuration that does not exist yet."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", attempt)
    mark = attempt if plain else time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    found, number = path.with_name(f"{path.name}.aside-{mark}"), 0
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}.aside-{mark}.{number}")
    return found


def replace(module: AnsibleModule, path: Path, good: Path) -> str:
    """Put the good configuration in place, whole or not at all, with the old one's owner and mode; return the aside."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(good.read_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        like = os.stat(path if path.exists() else good)
        os.chown(draft, like.st_uid, like.st_gid)
        os.chmod(draft, like.st_mode & 0o7777)
        aside = ""
        if path.exists():
            kept = aside_of(path, module.params["attempt"])
            shutil.copy2(path, kept)
            os.chown(kept, like.st_uid, like.st_gid)
            aside = str(kept)
        os.replace(draft, path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return aside


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "good": {"type": "path", "required": True},
            "check": {"type": "list", "elements": "str", "default": []},
            "attempt": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    path, good = Path(module.params["path"]), Path(module.params["good"])
    aside, before = "", text_of(path)
    try:
        changed, reason = due(module, path, good)
        if changed and not module.check_mode:
            aside = replace(module, path, good)
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error))
    result = {"changed": changed, "aside": aside, "reason": reason}
    if module._diff and changed:  # noqa: SLF001 - how Ansible tells a module that --diff was given
        result["diff"] = {
            "before": before,
            "after": text_of(good),
            "before_header": str(path),
            "after_header": str(good),
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
