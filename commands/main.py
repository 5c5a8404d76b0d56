"""Defines the command `offload`. Each subcommand has its own module, and imports slow modules only when it runs."""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires

import typer

from commands.dataset import export
from commands.experiment import experiment
from commands.inspection import algorithms, check, reference, schedulers, show
from commands.installation import require_own_packages
from commands.parity import parity
from commands.replay import replay
from commands.report import report
from commands.run import run
from commands.selftest import selftest
from commands.serve import serve, set_, status
from commands.services import check as check_services
from commands.simulate import simulate
from commands.terminal import INTERRUPTED, Commands, Interrupted, degrade_characters
from commands.training import scorer
from commands.upkeep import await_, migrate, prepare
from commands.usage import OnceEach, UsageError, is_help, usage_message

app = typer.Typer(
    cls=Commands,
    help="A testbed for decentralized task offloading between edge nodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(serve)
app.command()(status)
app.command("set")(set_)
app.command()(report)
app.command()(parity)
app.command()(replay)
app.command()(simulate)
app.command()(experiment)
app.command()(selftest)
app.command()(schedulers)
app.command()(algorithms)
app.command()(prepare)
app.command("await")(await_)
config = typer.Typer(help="Show or check settings.", no_args_is_help=True)
config.command()(show)
config.command()(check)
config.command()(reference)
app.add_typer(config, name="config")
dataset = typer.Typer(help="Export logs as Minari data sets.", no_args_is_help=True)
dataset.command()(export)
app.add_typer(dataset, name="dataset")
services = typer.Typer(help="Check the services that a run uses.", no_args_is_help=True)
services.command("check")(check_services)
app.add_typer(services, name="services")
database = typer.Typer(help="Manage the database.", no_args_is_help=True)
database.command()(migrate)
app.add_typer(database, name="database")
train = typer.Typer(help="Train a model in the numeric twin.", no_args_is_help=True)
train.command()(scorer)
app.add_typer(train, name="train")
for _group in (app, config, dataset, services, database, train):
    for _command in _group.registered_commands:
        _command.cls = OnceEach


def main() -> None:
    """Run the command. An error that the user can correct is printed without a traceback, with exit code 2."""
    degrade_characters()
    require_own_packages("offload")
    try:
        code = app(standalone_mode=False, prog_name="offload")
        sys.exit(code if isinstance(code, int) else 0)
    except Interrupted as interrupted:
        print(f"\noffload: {interrupted}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:  # printed if the user can correct it, otherwise raised again
        if is_help(error):
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        message = _message(error)
        if message is None:
            raise
        print(f"offload: {message}", file=sys.stderr)
        sys.exit(2)


def _message(error: Exception) -> str | None:
    """The message for an error that the user can correct; None for a defect of the program."""
    from middleware.errors import ServiceError
    from offload.errors import UserError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ServiceError):
        return error.in_full
    if isinstance(error, UsageError):
        return usage_message(error)
    if isinstance(error, OSError):
        from commands.places import file_error

        return file_error(error)
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error)) is not None:
        return (
            f"{error.name} is not installed here: run `pip install -e '.[{extra}]'` in the project's folder, "
            "or with [all] for everything"
        )
    return None


def _extra_of(missing: ModuleNotFoundError) -> str | None:
    """The extra of this package that installs a module; None for an unknown module."""
    name = (missing.name or "").partition(".")[0].replace("_", "-").lower()
    extras = {
        extra
        for line in requires("offload-testbed") or []
        if re.match(r"[\w-]+", line)[0].lower() == name  # type: ignore[index]
        for extra in re.findall(r"extra == ['\"]([\w-]+)['\"]", line)
    } - {"dev"}
    return min(extras, default=None)


if __name__ == "__main__":
    main()
