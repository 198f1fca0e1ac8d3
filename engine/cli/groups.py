"""Groups of commands that do something useful when no command is named."""

from __future__ import annotations

import click


class ListingGroup(click.Group):
    """A group that lists by default: options of `list` may stand without the word."""

    default = "list"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default in front of arguments that name no command."""
        helps = ctx.help_option_names
        if not args or (args[0].startswith("-") and args[0] not in helps):
            args.insert(0, self.default)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args[0] not in self.commands:
            import difflib

            close = difflib.get_close_matches(args[0], self.commands, n=1)
            known = f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(self.commands)}"
            ctx.fail(f"no such command '{args[0]}'{known}")
        return super().resolve_command(ctx, args)
