"""Prepares a run before its pods start: `offload database migrate`, `offload prepare`, `offload await`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from offload.errors import UserError

_RETRY_S = 0.5
_ORIGIN = "offload prepare"
Config = Annotated[Path | None, typer.Option(help="A YAML file of settings; it may name a preset.")]
RunName = Annotated[str, typer.Option("--run", help="The run's name.")]


class NotPrepared(UserError):
    """The run is not prepared within the time limit. The message says what is missing."""


def migrate(
    database: Annotated[str | None, typer.Option(help="URL of the database; by default, the configured one.")] = None,
) -> None:
    """Create the tables, or upgrade the tables of an older version."""
    from commands.places import check_places
    from middleware.configuration import load_settings
    from middleware.database import Database
    from offload.settings import ServiceSettings, redacted

    url = load_settings(sets=[f"services.database={database}"] if database else []).services.database
    check_places(ServiceSettings(database=url, storage="database:"))
    connected = Database.connect(url)
    connected.migrate()
    connected.check_schema()
    typer.echo(f"{redacted(url)} has the tables of this version")


def prepare(
    run: RunName,
    preset: Annotated[str | None, typer.Option(help="A named experiment: demo, paper-testbed, …")] = None,
    config: Config = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")] = None,
) -> None:
    """Create the tables, the run with its network, and its live settings, if they do not exist. Pods wait for them.

    Existing live settings change only where these settings differ from those of the last `offload prepare`.
    """
    from commands.checking import check_settings
    from commands.local import open_run
    from commands.places import check_places
    from middleware.configuration import load_settings, open_configuration, watched_file
    from middleware.retrying import retry_while_unavailable

    settings = load_settings(preset, config, sets or [])
    check_settings(settings)
    check_places(settings.services)
    live, url = settings.live(), settings.services.configuration
    opened = retry_while_unavailable(lambda: open_run(settings, run))
    # As owner, it processes edits in Nacos' console like the controller, which may not run yet.
    configuration = open_configuration(url, opened.database, owner=True)
    retry_while_unavailable(lambda: configuration.create(run, live, _ORIGIN))
    # Only the controller applies a file that it watches: readers of different versions would undo each other's edits.
    if watched_file(url) is None and (
        record := retry_while_unavailable(lambda: configuration.adopt(run, live, _ORIGIN))
    ):
        typer.echo(f"the live settings were changed: revision {record.revision}")
    typer.echo(f"run {run} is prepared: {settings.network.nodes} edge nodes, seed {settings.seed}")
    opened.database.close()


def await_(
    run: RunName,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds; after them the exit code is 2.")
    ] = 300.0,
) -> None:
    """Wait until the run is prepared."""
    from middleware.configuration import load_settings
    from middleware.database import Database, SchemaError, UnknownRun, load_run
    from middleware.errors import ServiceUnavailable

    database = Database.connect(load_settings().services.database)
    until = time.monotonic() + timeout_s
    while True:
        try:
            database.check_schema()
            load_run(database, run)
            break
        except (SchemaError, UnknownRun) as missing:
            why = str(missing)
        except ServiceUnavailable as error:
            why = error.in_full
        if time.monotonic() >= until:
            raise NotPrepared(f"run '{run}' is not prepared after {timeout_s:g} s: {why}")
        time.sleep(_RETRY_S)
    database.close()
    typer.echo(f"run {run} is prepared")
