"""A node that is reached over ssh: a server of our own on loopback, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from engine.executor import processes

MISSING = "no sshd (apt-get install openssh-server)"
_PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def found() -> bool:
    """Return whether there is what it takes."""
    return all(shutil.which(name, path=_PATHS) for name in ("sshd", "ssh", "ssh-keygen"))


class Node:
    """An ssh server on 127.0.0.1, under a name that the inventory gives it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks up what it does not trust
        settings = {
            "ListenAddress": "127.0.0.1",
            "Port": self.port,
            "HostKey": root / "host",
            "AuthorizedKeysFile": root / "user.pub",
            "PidFile": root / "pid",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": 100,
            "MaxSessions": 100,
            "Subsystem": "sftp internal-sftp",
            "SetEnv": "SHLVL=1",  # a login shell as on a node: bash would read the ~/.bashrc of whoever works here
        }
        (root / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def variables(self) -> dict[str, object]:
        """Return what the inventory says of it."""
        options = f"-i {self.root / 'user'} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": sys.executable,
        }

    def start(self) -> None:
        """Let itself be reached; does nothing when it can be."""
        if self._server is not None:
            return
        program = shutil.which("sshd", path=_PATHS)
        assert program is not None, MISSING
        with (self.root / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.root / "config")], stdin=subprocess.DEVNULL, stderr=log
            )
        end = time.monotonic() + 10.0
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._server.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < end, "sshd did not begin to listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """Let nobody in any more, and hang up on those that are in; what they began goes on."""
        if self._server is None:
            return
        sessions = processes.descendants(self._server.pid)
        self._server.terminate()
        self._server.wait(10)
        self._server = None
        for session in sessions:
            try:
                line = Path(f"/proc/{session.pid}/cmdline").read_bytes()
            except OSError:
                continue
            if line.startswith(b"sshd"):
                processes.send(session, signal.SIGKILL)
