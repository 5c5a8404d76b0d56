"""A run that was recorded: how commands name it, and its opening."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from middleware.database import Database, Run

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder, as `offload run --out` was given it.")]
RunName = Annotated[str | None, typer.Option("--run", help="The run's name, where it does not follow from the folder.")]


@contextmanager
def open_recorded_run(folder: Path, url: str | None, name: str | None) -> Iterator[tuple[Database, Run]]:
    """The database and the run of the folder, or of the name. Raises SettingsError or UnknownRun where there is none."""
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
