"""Repeats the paper's experiments and compares all methods, in the numeric twin (`offload experiment`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from distributed import Client

    from experiments.cells import Cell
    from experiments.definitions import Experiment
    from experiments.plan import Scale
    from offload.settings import Settings

_RESULTS = "results.json"


def experiment(
    name: Annotated[str, typer.Argument(help="fig3, fig4, fig5a, fig5b, fig5c, fig6 or ladder.")],
    out: Annotated[Path, typer.Option(help="Folder for results, figure and finished cells.")],
    networks: Annotated[int, typer.Option(min=1, help="Number of networks drawn from the seed.")] = 20,
    traces: Annotated[int, typer.Option(min=1, help="Traces on each network, for the evaluation.")] = 6,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each learned method on each network.")] = 3,
    methods: Annotated[str | None, typer.Option(help="Compare these methods only, separated by commas.")] = None,
    preset: Annotated[str | None, typer.Option(help="Another preset than the experiment's.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; it may name a preset.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of networks, traces and failures.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes here; by default one for each core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: tcp://host:port.")] = None,
) -> None:
    """Compare methods in the conditions of one of the paper's figures, or all methods (ladder).

    Finished cells stay in --out. Run the same command again to resume.
    """
    from rich.console import Console

    from commands.places import check_folder
    from commands.run import ProgressBars
    from experiments.engine import computed, stored
    from experiments.figures import FIGURES
    from experiments.plan import Scale, plan_cells

    found = _known(name)
    chosen = _methods(found, methods)
    given = [f"seed={seed}"] if seed is not None else []
    base = _base(found, preset, config, [*given, *(sets or [])], chosen)
    scale = Scale(networks, traces, seeds)
    cells = plan_cells(found, base, chosen, scale)
    check_folder("--out", out)
    for file in (_RESULTS, *FIGURES):
        if (out / file).is_dir():
            raise typer.BadParameter(f"{out / file} is a folder; its name is that of a result", param_hint="--out")
    results = stored(cells, out / "cells")
    missing = [cell for cell in cells if cell not in results]
    if missing:
        with ProgressBars(Console(stderr=True)) as bars, _answering(scheduler, workers) as client:
            bars.begin(f"experiment {name}", len(cells), "cells")
            bars.advance(len(results))
            results |= computed(missing, out / "cells", client, lambda cell: bars.advance(1, _noted(cell)))
            bars.end()
    _write(name, found, base, chosen, scale, results, out)


@contextmanager
def _answering(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the cluster. Raises typer.BadParameter when the scheduler does not answer."""
    from experiments.engine import cluster

    if scheduler is not None and not re.fullmatch(r"(tcp|tls)://.+:[0-9]+", scheduler):
        raise typer.BadParameter(f"{scheduler} is not an address; write tcp://host:port", param_hint="--scheduler")
    with ExitStack() as stack:
        try:
            client = stack.enter_context(cluster(scheduler, workers))
        except OSError as error:
            if scheduler is None:
                raise
            raise typer.BadParameter(f"{scheduler} does not answer: {error}", param_hint="--scheduler") from None
        yield client


def _noted(cell: Cell) -> str:
    return ", ".join(part for part in (cell.work, cell.condition, f"network {cell.network}") if part)


def _known(name: str) -> Experiment:
    from experiments.definitions import EXPERIMENTS
    from offload.explanations import unknown_name

    if name not in EXPERIMENTS:
        raise typer.BadParameter(unknown_name("experiment", name, list(EXPERIMENTS)), param_hint="NAME")
    return EXPERIMENTS[name]


def _methods(found: Experiment, given: str | None) -> tuple[str, ...]:
    """The methods to compare, each once. Raises typer.BadParameter for an unknown one."""
    from edgenode.schedulers import scheduler_names
    from experiments.methods import REFERENCES, TRAININGS
    from offload.explanations import unknown_name

    if given is None:
        return found.methods
    chosen = tuple(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
    learned = [method for training in TRAININGS.values() for method in training.methods]
    known = [*scheduler_names(), *REFERENCES, *learned]
    for method in chosen:
        if method not in known:
            raise typer.BadParameter(unknown_name("method", method, known), param_hint="--methods")
    if not chosen:
        raise typer.BadParameter("names no method", param_hint="--methods")
    return chosen


def _base(
    found: Experiment, preset: str | None, config: Path | None, sets: list[str], methods: tuple[str, ...]
) -> Settings:
    """The settings under those of conditions and trainings. Checks the settings of all cells."""
    from commands.checking import check_settings, needs_no_model
    from edgenode.schedulers import scheduler_names
    from experiments.methods import works_of
    from experiments.plan import condition_settings
    from middleware.configuration import load_settings
    from offload.settings import SettingsError

    chosen = load_settings(preset or (None if config else found.preset), config, sets)
    if chosen.offline.dataset is not None:
        raise SettingsError(
            f"offline.dataset: '{chosen.offline.dataset}'; experiments collect their own logs: remove it"
        )
    for work in works_of(methods):
        for settings in condition_settings(found, chosen, work).values():
            check_settings(settings)
            faults = list(needs_no_model(settings, "--methods", work)) if work in scheduler_names() else []
            if faults:
                raise SettingsError("\n".join(faults))
    return chosen


def _write(
    name: str,
    found: Experiment,
    base: Settings,
    methods: tuple[str, ...],
    scale: Scale,
    results: Any,
    out: Path,
) -> None:
    from dataclasses import asdict
    from importlib.metadata import version

    from rich.console import Console

    from experiments.figures import drawn
    from experiments.summary import summarize

    summary = summarize(found, methods, results)
    content = {
        "experiment": name,
        "title": found.title,
        "axis": found.axis,
        **asdict(scale),
        "settings": base.experiment(),
        "version": version("offload-testbed"),
        "seconds": round(sum(one["seconds"] for one in results.values()), 1),
        "conditions": summary,
    }
    (out / _RESULTS).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    for file, data in drawn(found, summary).items():
        (out / file).write_bytes(data)
    console = Console()
    for label, values in summary.items():
        console.print(_table(found, label, values, scale))
    console.print(f"Results: {out / _RESULTS}   Figure: {out / 'figure.png'}")


def _table(found: Experiment, label: str, methods: dict[str, Any], scale: Scale) -> Any:
    from rich.table import Table

    where = f"{found.axis} {label}" if label else found.title
    title = f"{where}: {scale.networks} networks, {scale.traces} traces each, {scale.training_seeds} training seeds"
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for column in ("success %", "vs sed", "share of the ceiling %"):
        table.add_column(column, justify="right")
    for method, values in sorted(methods.items(), key=lambda item: -item[1]["mean"]):
        difference, share = values["difference"], values["share_of_ceiling"]
        table.add_row(
            method,
            _with_half(values, 100, 1),
            "" if difference is None else _with_half(difference, 100, 2, "+"),
            "" if share is None else f"{share * 100:.1f}",
        )
    return table


def _with_half(values: dict[str, Any], scale: float, digits: int, sign: str = "") -> str:
    """`91.2 ± 0.4`: the mean and half the interval."""
    text = f"{values['mean'] * scale:{sign}.{digits}f}".replace("-", "−")
    if values["interval"] is None:
        return text
    half = max(abs(end - values["mean"]) for end in values["interval"])  # an interval of rates may be cut off at 1
    return f"{text} ± {half * scale:.{digits}f}"
