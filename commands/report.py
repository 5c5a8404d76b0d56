"""Rebuilds the results of a run from the database and the storage (`offload report DIR`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.recorded import DatabaseUrl, Folder, RunName, open_recorded_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from middleware.database import Database, Run


def report(
    folder: Folder,
    name: RunName = None,
    database: DatabaseUrl = None,
    storage: Annotated[
        str | None, typer.Option(help="URL of the storage. Default: services.storage of the settings.")
    ] = None,
) -> None:
    """Rebuild a run's results, figures, report and TensorBoard events. DIR may have been deleted."""
    from rich.console import Console

    from commands.parity import recorded_parity
    from commands.places import check_folder
    from evaluation.report import build_report, export_report
    from evaluation.tables import results_table
    from middleware.configuration import load_settings

    console = Console()
    check_folder("DIR", folder)
    with open_recorded_run(folder, database, name) as (db, run):
        services = load_settings(sets=[f"services.storage={storage}"] if storage else []).services
        with console.status("reading the records, replaying them in the twin, drawing the figures"):
            results, files = build_report(db, run, recorded_parity(db, run))
            export_report(folder, files)
        _store(services.storage, db, run, folder, files, console)
        _write_events(db, run, folder, console)
    console.print(results_table(results))
    console.print(f"\nReport: [bold]{folder / 'report.html'}[/]   Results: {folder / 'results.json'}")


def _store(url: str, db: Database, run: Run, folder: Path, files: Mapping[str, bytes], console: Console) -> None:
    """Write the report to the storage as well. If the storage is read-only or unavailable, print that."""
    from evaluation.report import store_report
    from middleware.errors import ServiceError
    from middleware.storage import open_storage
    from offload.settings import redacted

    try:
        store_report(open_storage(url, db), run, files)
    except ServiceError as refused:
        console.print(
            f"The report is in {folder}, but not in the storage {redacted(url)}, which rejects it: {refused.in_full}",
            markup=False,
        )


def _write_events(db: Database, run: Run, folder: Path, console: Console) -> None:
    from trainer.events import write_events

    try:
        write_events(db, run, folder / "tensorboard")
    except ModuleNotFoundError as missing:
        console.print(f"No TensorBoard events are written: {missing.name} is not installed", style="dim")
