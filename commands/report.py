"""`offload report DIR`: the results of a run, made again from the database and the storage alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from middleware.database import Database, Run


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder; its name is the run's name.")],
    database: Annotated[
        str | None, typer.Option(help="URL of the database; else as settings and environment say.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="URL of the storage; else as settings and environment say.")
    ] = None,
) -> None:
    """Make a run's results, figures, report and TensorBoard events again; DIR may have been deleted."""
    from rich.console import Console

    from evaluation.report import write_report
    from evaluation.tables import results_table
    from middleware.configuration import load_settings
    from middleware.database import Database, load_run
    from middleware.storage import open_storage

    console = Console()
    name = folder.resolve().name
    given = {"services.database": database, "services.storage": storage}
    services = load_settings(sets=[f"{key}={url}" for key, url in given.items() if url]).services
    _refuse_absent(services.database)
    db = Database.connect(services.database)
    try:
        db.check_schema()
        run = load_run(db, name)
        with console.status("reading the records, drawing the figures"):
            results = write_report(db, open_storage(services.storage, db), run, folder)
        _write_events(db, run, folder, console)
    finally:
        db.close()
    console.print(results_table(results))
    console.print(f"\nReport: [bold]{folder / 'report.html'}[/]   Results: {folder / 'results.json'}")


def _refuse_absent(url: str) -> None:
    """Connecting would make an empty SQLite file where there is none: say instead that this is the wrong place."""
    from offload.settings import SettingsError

    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.exists():
        raise SettingsError(
            f"services.database: there is no database {path} here; `offload run` makes one. Is this the folder in which it "
            "was run? --database says where another is"
        )


def _write_events(db: Database, run: Run, folder: Path, console: Console) -> None:
    from trainer.events import write_events

    try:
        write_events(db, run, folder / "tensorboard")
    except ModuleNotFoundError as missing:
        console.print(f"TensorBoard events are left out: {missing.name} is not installed here", style="dim")
