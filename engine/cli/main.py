"""The command line: one command, one module, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from engine.cli.exits import Exit

COMMANDS = {
    "demo": ("demo", "Watch a small cluster break and heal, six times over, on this machine."),
    "init": ("init", "Lay out a project that passes lint and audit at once."),
    "doctor": ("doctor", "Check what this machine and this project need to work."),
    "status": ("status", "Show open incidents, what runs, locks, pauses and the score so far."),
    "audit": ("audit", "Collect, evaluate and report once; change nothing unless told to."),
    "plan": ("plan", "Show what would be done now, and what holds it back."),
    "run": ("run", "Run a runbook by hand on the hosts that you name."),
    "approve": ("approve", "Approve what an incident proposes: exactly what is shown."),
    "deny": ("deny", "Deny what an incident proposes, and leave it to a human."),
    "watch": ("watch", "Be the daemon: collect, evaluate and heal until stopped."),
    "localize": ("localize", "Say what is wrong: node, resource and culprit, since when, with evidence."),
    "why": ("why", "Say why something was done to a host, or was not."),
    "incidents": ("incidents", "List incidents, show one, acknowledge, close or hand one back."),
    "runs": ("runs", "List executions, show one, follow its output, cancel it."),
    "backtest": ("backtest", "Show what a runbook would have decided on the samples of the past."),
    "lint": ("lint", "Check runbooks, settings and inventory."),
    "pause": ("pause", "Have automation keep still, and say why."),
    "silence": ("silence", "Have alerts start nothing for a while, and say why."),
    "resume": ("resume", "Let automation go on."),
    "stop": ("stop", "Emergency stop: pause everything and end what runs."),
    "locks": ("locks", "Show which hosts are held, by what and since when; break a lock."),
    "report": ("report", "Report on a period: what came back, what works and what does not, what prevents."),
    "trust": ("trust", "Show how far each runbook is trusted, and what speaks for more."),
    "audit-log": ("audit_log", "Show, export and verify the chain of what was decided and done."),
    "backup": ("backup", "Copy the record, verified, while the engine runs."),
    "restore": ("restore", "Put a backup in the record's place; automation is paused until resumed."),
    "metrics": ("metrics", "Query and list the collected series."),
    "drill": ("drill", "Break the lab on purpose, and keep score of how it was handled."),
    "lab": ("lab", "Make, look at or end a lab: real machines, or a demo's cluster."),
}

EPILOG = """\b
Examples:
  mendbook demo                                  see the whole cycle, in about 80 seconds
  mendbook init && mendbook audit                start a project on this machine
  mendbook run disk-full --limit web-1 --check   try a remedy without touching anything
  mendbook why web-1                             what held, what was done, what holds it back
"""


class Commands(click.Group):
    """The group whose commands are imported when they are asked for, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people meet them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for a name that is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = importlib.import_module(f"engine.cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"no such command '{name}'{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="mendbook", prog_name="mendbook")
@click.option(
    "-C", "--directory", type=click.Path(exists=True, file_okay=False), help="Work on the project in this directory."
)
def cli(directory: str | None) -> None:
    """PromQL says what is wrong, Ansible puts it right; Mendbook decides when that is safe, proves it and remembers."""
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False
    if directory is not None:
        os.chdir(directory)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    have_streams()
    sys.exit(run(arguments))


def have_streams() -> None:
    """Have stdin, stdout and stderr exist; what was closed reads nothing and swallows everything.

    Without that the next file to be opened, the record among others, would get the number of the closed one, and
    everything printed there would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="mendbook", standalone_mode=False
        )
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return int(result) if isinstance(result, int) else Exit.OK
