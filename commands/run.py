"""Runs the O2O-DRL pipeline on local processes, and resumes one that was interrupted (`offload run`)."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from commands.attached import AttachedController
    from commands.local import LocalController, OpenRun
    from middleware.database import LeaseHolder
    from offload.protocols import EpisodeSource
    from offload.settings import Settings

_TITLES = {
    "collect": "collect: the heuristic's task logs",
    "replay": "offline: logs to transitions",
    "offline": "offline: training",
    "checkpoint": "offline: episodes of checkpoints",
    "evaluate": "evaluate: every method on the same traces",
}


class ProgressBars:
    """A progress bar for each part of a phase; implements `trainer.progress.Progress`."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<46}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._console = console
        self._current: TaskID | None = None
        self._tenths = 0

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, phase: str, total: int, unit: str) -> None:
        """Begin a new bar."""
        self._current = self._bars.add_task(_TITLES.get(phase, phase), total=total, unit=unit, note="")
        self._tenths = 0

    def advance(self, count: int = 1, note: str = "") -> None:
        """Advance the current bar."""
        if self._current is not None:
            self._bars.update(self._current, advance=count, note=note)
            if not self._console.is_terminal:
                self._print_tenths(self._current)

    def _print_tenths(self, current: TaskID) -> None:
        """Print a line at every tenth, for a file or a pipe, where bars cannot move."""
        bar = next(task for task in self._bars.tasks if task.id == current)
        tenths = int(10 * bar.completed / bar.total) if bar.total else 10
        if tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"{bar.description}: {bar.completed:g} of {bar.total:g} {bar.fields['unit']}")

    def end(self) -> None:
        """End the current bar; it stays visible."""
        if self._current is not None:
            self._bars.update(self._current, note="")
        self._current = None


def run(
    preset: Annotated[str | None, typer.Option(help="A named experiment: demo, paper-testbed, …")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; it may name a preset.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; runs/demo is the run demo, runs/a/b the run a.b.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--run", help="The run's name. By default it follows from the folder.")
    ] = None,
    phases: Annotated[
        list[str] | None, typer.Option("--phase", help="Run only this phase. Repeatable. Default: all phases.")
    ] = None,
    twin: Annotated[
        bool, typer.Option("--twin", help="Play in the numeric twin instead of on local processes.")
    ] = False,
    attach: Annotated[
        bool,
        typer.Option("--attach", help="Use the run's controller that is already running, instead of starting one."),
    ] = False,
) -> None:
    """Run the pipeline: collect, offline, deploy, online, evaluate, report. Resumes an interrupted run."""
    from commands.attached import AttachedController
    from commands.local import DATA_DIR, LocalController, holding, open_run
    from middleware.configuration import load_settings

    console = Console()
    settings = load_settings(preset, config, sets or [])
    wanted = _wanted(phases)
    out = out or Path("runs") / (config.stem if config else preset or "default")
    _check(settings, wanted, out, name, starts_processes=not (twin or attach))
    # Warnings only after the run is opened: until then, the error that ends the command is enough.
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(name)s: %(message)s")
    opened = open_run(settings, name, by_twin=twin, folder=out)
    logging.getLogger().setLevel(logging.WARNING)
    nodes, scale = settings.network.nodes, settings.time.time_scale
    speed = "in the numeric twin" if twin else "at real speed" if scale == 1 else f"at {scale:g} times real speed"
    console.print(
        f"Run [bold]{opened.run.name}[/]: {nodes} edge nodes, {settings.time.slots} slots of "
        f"{settings.time.slot_s:g} s {speed}, seed {settings.seed}; data in {DATA_DIR}/"
    )

    with _terminated_like_interrupted():
        if wanted == ["report"]:
            results = _execute(opened, None, out, wanted, console)
        elif twin:
            with ExitStack() as ending:
                with console.status("waiting until no other process plays this run"):
                    holder = ending.enter_context(holding(opened))
                results = _execute(opened, None, out, wanted, console, holder)
        else:
            place = AttachedController(opened) if attach else LocalController(opened, DATA_DIR / opened.run.name)
            with place as controller:
                with console.status(
                    "waiting for the controller" if attach else "starting the controller and the edge nodes"
                ):
                    controller.address()
                results = _execute(opened, controller, out, wanted, console)
    if results is not None:
        _conclude(results, out, console)


def _wanted(phases: list[str] | None) -> list[str]:
    from trainer.pipeline import PHASES

    for phase in phases or []:
        if phase not in PHASES:
            raise typer.BadParameter(f"unknown phase '{phase}'; phases: {', '.join(PHASES)}", param_hint="--phase")
    return list(phases or PHASES)


def _check(settings: Settings, phases: list[str], out: Path, name: str | None, starts_processes: bool) -> None:
    """Check the settings and folders before the run begins. Raises SettingsError, DatasetError."""
    from commands.checking import check_settings
    from commands.local import DATA_DIR
    from commands.naming import name_of
    from commands.places import check_places

    check_settings(settings)
    _check_training(settings, phases)
    if name is None:
        name_of(out)
    own = [("the data of processes", DATA_DIR)] if starts_processes else []
    check_places(settings.services, ("--out", out), *own)


def _check_training(settings: Settings, phases: list[str]) -> None:
    """Check that this machine can train: device, algorithms, and data set. Raises SettingsError, DatasetError."""
    from offload.profiles import make_profile
    from trainer.algorithms import create_offline, create_online
    from trainer.datasets import check_dataset
    from trainer.networks import choose_device

    if {"offline", "online"} & set(phases):
        choose_device(settings.learner.device)
    if "offline" in phases:
        create_offline(settings)
    if "online" in phases:
        create_online(settings)
    if "offline" in phases and settings.offline.dataset is not None:
        check_dataset(settings.offline.dataset, make_profile(settings))


def _execute(
    opened: OpenRun,
    controller: LocalController | AttachedController | None,
    out: Path,
    phases: list[str],
    console: Console,
    holder: LeaseHolder | None = None,
) -> dict[str, Any] | None:
    from commands.parity import recorded_parity
    from middleware.http.access import Access
    from trainer.controller_client import ControllerClient
    from trainer.pipeline import Pipeline
    from trainer.source import TestbedSource

    def address() -> str:
        if controller is None:
            raise RuntimeError("the phase report needs no controller")
        return controller.address()

    database, storage, run = opened.database, opened.storage, opened.run
    source: EpisodeSource
    activate: Callable[[str], None]
    if run.by_twin:
        from commands.twin_source import TwinSource

        source, activate = TwinSource(database, storage, run, holder), lambda version: None
        deploy = activate
    else:
        access = Access.read(os.environ)
        client = ControllerClient(address, access=access)
        takes_over = controller is not None and controller.takes_over
        source, activate, deploy = (
            TestbedSource(address, database, run, opened.settings, access=access, takes_over=takes_over),
            client.activate,
            client.deploy,
        )
    with ProgressBars(console) as bars:
        pipeline = Pipeline(
            database,
            storage,
            run,
            source,
            activate,
            deploy=deploy,
            progress=bars,
            log_dir=out / "tensorboard",
            out_dir=out,
            parity=lambda: recorded_parity(database, run),
        )
        return pipeline.execute(phases)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C: the run stops its child processes and writes no incomplete file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _conclude(results: dict[str, Any], out: Path, console: Console) -> None:
    from evaluation.tables import results_table

    console.print(results_table(results))
    console.print(f"\nReport: [bold]{out / 'report.html'}[/]   Results: {out / 'results.json'}")
    console.print(
        "Next: `offload serve --preset demo` keeps a fleet running; `offload set scheduler.name=sed` changes it;"
    )
    console.print("      `offload schedulers` lists the schedulers; docs/schedulers.md shows how to add your own.")
