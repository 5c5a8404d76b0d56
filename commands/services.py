"""Checks whether each configured service answers (`offload services check`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def check(
    preset: Annotated[str | None, typer.Option(help="A named experiment: demo, paper-testbed, …")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; it may name a preset.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, such as services.storage=URL. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Use each service as a run does. Prints its version, latency and problem. Exit code 1 if one cannot be used."""
    from rich.console import Console
    from rich.table import Table

    from middleware.checks import check_services
    from middleware.configuration import load_settings

    services = load_settings(preset, config, sets or []).services
    with Console(stderr=True).status("checking the services"):
        found = check_services(services)
    if as_json:
        rows = [{**vars(one), "fine": one.is_fine} for one in found]
        typer.echo(json.dumps({"services": rows}, allow_nan=False))
    else:
        table = Table()
        for column in ("service", "url", "", "version", "answers in"):
            table.add_column(column, overflow="fold")
        for one in found:
            took = "–" if one.latency_s is None else f"{one.latency_s * 1e3:.1f} ms"
            table.add_row(one.service, one.url, "fine" if one.is_fine else "WRONG", one.version or "–", took)
        console = Console()
        console.print(table)
        for one in found:
            if one.problem is not None:
                console.print(f"{one.service}: {one.problem}", markup=False)
    if not all(one.is_fine for one in found):
        raise typer.Exit(1)
