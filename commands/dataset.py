"""Exports a run's logs as a Minari data set, for other offline algorithms (`offload dataset export`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commands.recorded import DatabaseUrl, Folder, RunName, open_recorded_run
from offload.episodes import EpisodePhase, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from offload.episodes import EpisodeLog


def export(
    folder: Folder,
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the data set, such as offload/ratc-v0.")],
    phases: Annotated[
        list[EpisodePhase] | None,
        typer.Option("--phase", help="Export this phase's episodes. Repeatable. Default: collect."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Export only this method's episodes.")] = None,
    name: RunName = None,
    database: DatabaseUrl = None,
) -> None:
    """Export complete episodes. `offload run --set offline.dataset=ID` trains on a data set."""
    from rich.console import Console
    from rich.progress import Progress

    from middleware.database import find_episodes, stream_episode_logs
    from offload.profiles import make_profile
    from trainer.datasets import export_dataset

    with open_recorded_run(folder, database, name) as (db, run):
        found = [
            one
            for phase in phases or [EpisodePhase.COLLECT]
            for one in find_episodes(db, run, phase=phase, method=method, verdict=Verdict.COMPLETE)
        ]
        methods = ", ".join(sorted({one.plan.method for one in found}))
        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("episodes", total=len(found))

            def logs() -> Iterator[EpisodeLog]:
                for log in stream_episode_logs(db, run, [one.episode for one in found]):
                    yield log
                    bars.advance(bar)

            description = f"{methods} on run '{run.name}' of offload-testbed"
            count = export_dataset(logs(), dataset_id, make_profile(run.settings), description)
    Console().print(f"{count} episodes ({methods}) are in the Minari data set [bold]{dataset_id}[/]")
