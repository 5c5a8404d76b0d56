"""Lists schedulers and algorithms, and shows, checks and documents settings.

Commands: `offload schedulers`, `offload algorithms`, `offload config show`, `… check`, `… reference`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Preset = Annotated[str | None, typer.Option(help="A named experiment: demo, paper-testbed, …")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")]


def schedulers() -> None:
    """List the available schedulers, with the defaults of their parameters."""
    from edgenode.schedulers import describe

    table = Table(title="scheduler.name", title_justify="left")
    for column in ("name", "decides", "scheduler.parameters"):
        table.add_column(column, overflow="fold")
    for one in describe():
        table.add_row(one.name, one.summary, ", ".join(f"{key}={value}" for key, value in one.parameters.items()))
    Console().print(table)


def algorithms() -> None:
    """List the available learning algorithms, with the defaults of their parameters and the curves they record."""
    from trainer.algorithms import describe

    table = Table(title="offline.algorithm, online.algorithm", title_justify="left")
    for column in ("name", "phase", "for", "trains", "parameters", "curves"):
        table.add_column(column, overflow="fold")
    for one in describe():
        parameters = ", ".join(f"{key}={value}" for key, value in one.parameters.items())
        curves = "\n".join(f"{key}: {curve.label}" for key, curve in one.curves.items())
        table.add_row(one.name, one.phase, one.scheduler, one.summary, parameters, curves)
    Console().print(table)


def show(
    preset: Preset = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    sets: Sets = None,
) -> None:
    """Print every setting, resolved from all layers, as YAML for `--config` (without passwords)."""
    from middleware.configuration import load_settings
    from middleware.configuration.documents import written_document
    from offload.settings import redacted

    settings = load_settings(preset, config, sets or []).model_dump(mode="json")
    settings["services"] = {key: redacted(url) for key, url in settings["services"].items()}
    typer.echo(written_document(settings), nl=False)


def check(
    config: Annotated[Path, typer.Argument(help="A YAML file of settings.")],
    sets: Sets = None,
) -> None:
    """Check a file of settings. If something is wrong, print it and exit with code 2."""
    from commands.checking import check_settings
    from middleware.configuration import load_settings

    check_settings(load_settings(None, config, sets or []))
    typer.echo(f"{config} is fine")


def reference() -> None:
    """Print all settings with defaults and meaning, as Markdown (part of docs/configuration.md)."""
    typer.echo(reference_text(), nl=False)


def reference_text() -> str:
    """A Markdown table for each section of the settings."""
    from pydantic import BaseModel

    from offload.settings import Settings

    lines: list[str] = []
    scalars = [(name, field) for name, field in Settings.model_fields.items() if not _is_section(field)]
    sections: list[tuple[str, Any]] = [("", scalars)]
    for name, field in Settings.model_fields.items():
        if _is_section(field):
            annotation = field.annotation
            assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
            sections.append((name, list(annotation.model_fields.items())))
    for section, fields in sections:
        lines += [f"### {section or 'top level'}", "", "| key | default | meaning |", "|---|---|---|"]
        for name, field in fields:
            lines.append(f"| `{name}` | `{_plain(field.default)}` | {field.description or ''} |")
        lines.append("")
    return "\n".join(lines)


def _is_section(field: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
