"""What stands where ansible-runner starts ansible-playbook: on the same terminal, but without starting a program where that is known to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_runner.runner import pexpect  # ansible-runner's own, which has no types

from engine.executor.warm import starts
from engine.executor.warm.starts import Cold

if TYPE_CHECKING:
    from engine.executor.warm.stage import Stage


def install(directory: Path, stage: Stage | None, cold: Cold) -> None:
    """Have ansible-runner play on this stage, in this process; without one, `cold` is why.

    Either way it is counted, below the folder of all executions.
    """

    class Spawn(pexpect.spawn):  # type: ignore[misc]
        """A terminal with ansible-playbook on it."""

        def __init__(self, command: str, arguments: list[str], *, env: Mapping[str, str], **options: Any) -> None:
            why: Cold | None = cold
            if stage is not None:
                program = pexpect.which(command, env=env)
                why = stage.refusal(program, env) if program else cold
                if why is None:
                    options["preexec_fn"] = lambda: stage.play(arguments, env)
            super().__init__(command, arguments, env=env, **options)
            self.ptyproc.delayafterclose = 0.0  # it is closed when the process has ended: there is nothing to wait for
            starts.count(directory, why)

    pexpect.spawn = Spawn
