"""A callback for Ansible, loaded by ansible-playbook under ansible-runner's own: it prints no results, and points out secrets.

Results reach the supervisor as events, so that printing them, megabytes at times, through a terminal would be waste.
At the start of each play the secret variables of its hosts, those that are vaulted and those whose names look
secret, are written to a private file, so that their values can be hidden wherever they turn up.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.parsing.vault import EncryptedString  # type: ignore[import-untyped]
from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

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


def _load_scrub() -> Any:
    """Return the executor's module by its place: ansible-playbook may not have the package on its path."""
    place = Path(__file__).parent.parent / "scrub.py"
    specification = importlib.util.spec_from_file_location("mendbook_scrub", place)
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
        self._scrub = _load_scrub()
        self._found: set[str] = set()
        self._files: dict[str, bool] = {}

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
            self._display.error(f"the play would touch hosts that it was not given: {', '.join(strangers)}")
            raise SystemExit(1)
        for host in hosts:
            variables = manager.get_vars(play=play, host=host, include_hostvars=False)
            self._found |= {secret for name, value in variables.items() for secret in self._secrets(name, value)}
        path = Path(place)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(sorted(self._found)), encoding="utf-8")
        fresh.replace(path)

    def _secrets(self, name: object, value: Any, *, secret: bool = False, depth: int = 0) -> Iterator[str]:
        secret = secret or self._scrub.looks_secret(str(name))
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
        if not path:
            return False
        if path not in self._files:
            try:
                with Path(path).open("rb") as file:
                    self._files[path] = file.read(len(_VAULTED)) == _VAULTED
            except OSError:
                self._files[path] = False
        return self._files[path]
