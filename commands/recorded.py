"""Opens a recorded run, and defines the options by which commands name it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from middleware.database import Database, Run

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder: the one given to `offload run --out`.")]
RunName = Annotated[str | None, typer.Option("--run", help="The run's name, if it does not follow from the folder.")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database", help="URL of the database. Default: services.database of the settings.")
]


@contextmanager
def open_recorded_run(folder: Path, url: str | None, name: str | None) -> Iterator[tuple[Database, Run]]:
    """Open the database, and find the run with this name or of this folder. Raises SettingsError, UnknownRun."""
    from commands.naming import recorded_run
    from commands.places import check_database
    from middleware.configuration import load_settings
    from middleware.database import Database

    services = load_settings(sets=[f"services.database={url}"] if url else []).services
    check_database(services.database)
    db = Database.connect(services.database)
    try:
        db.check_schema()
        yield db, recorded_run(db, folder, name)
    finally:
        db.close()
