"""`offload database migrate`: bring the tables to this version."""

from __future__ import annotations

from typing import Annotated

import typer


def migrate(
    database: Annotated[str | None, typer.Option(help="URL of the database; the configured one by default.")] = None,
) -> None:
    """Create the tables, or upgrade those of an older version."""
    from middleware.configuration import load_settings
    from middleware.database import Database
    from offload.settings import redacted

    url = load_settings(sets=[f"services.database={database}"] if database else []).services.database
    connected = Database.connect(url)
    connected.migrate()
    connected.check_schema()
    typer.echo(f"{redacted(url)} has the tables of this version")
