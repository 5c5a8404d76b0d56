"""Reports a wrong command line in one line, like every other error of a user."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import typer
from typer.core import TyperCommand

# Newer versions of Typer contain a copy of Click, whose exceptions are not those of the package `click`.
UsageError: Final[type[Exception]] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")


class OnceEach(TyperCommand):
    """A command that rejects an option given twice: Click would silently ignore the first one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, count in Counter(given).items():
            if count > 1 and parameter.param_type_name == "option" and not parameter.multiple:
                option: Any = parameter  # Typer's own Click, which its types do not name
                raise typer.BadParameter("is given twice; leave one out", ctx=ctx, param=option)
        return super().parse_args(ctx, args)


def is_help(error: Exception) -> bool:
    """Whether the user named a group of commands without a command: it shows its help, which is not an error."""
    return type(error).__name__ == "NoArgsIsHelpError"


def usage_message(error: Any) -> str:
    """The error as a message: `run: Invalid value for '--config': is given twice; leave one out`."""
    command = "" if error.ctx is None else error.ctx.command_path.partition(" ")[2]
    message = " ".join(error.format_message().split()).replace("Input should", "it should")
    hint = "" if isinstance(error, typer.BadParameter) else f" (see `{' '.join(['offload', command]).strip()} --help`)"
    return f"{command}: {message}{hint}" if command else f"{message}{hint}"
