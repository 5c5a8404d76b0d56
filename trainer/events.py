"""Writes TensorBoard events of a run from its database: losses, and the success rates of every phase.

`write_events` replaces the events that it wrote before. So the folder contains no step twice, even after a resumed run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from middleware.database import Database, Run, find_episodes, find_models
from offload.episodes import EpisodeStatus, Verdict
from trainer.plans import CHECKPOINT, O2O_DRL, OFFLINE_ONLY, ONLINE_ONLY

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def write_events(db: Database, run: Run, folder: Path) -> None:
    """Write the events of all that is recorded so far: offline losses by gradient step, online losses by update.

    The step of `success_rate/<phase>/<method>` is the episode's place in its phase.
    """
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        _offline(writer, db, run)
        _online(writer, db, run)
        _episodes(writer, db, run)


def _offline(writer: SummaryWriter, db: Database, run: Run) -> None:
    for method in (CHECKPOINT, OFFLINE_ONLY):
        for row in find_models(db, run, method=method):
            for point in row.statistics.get("curve", []):
                for key, value in point.items():
                    if key != "step" and value is not None:
                        writer.add_scalar(f"offline/{key}", value, int(point["step"]), row.created_at)


def _online(writer: SummaryWriter, db: Database, run: Run) -> None:
    for method in (O2O_DRL, ONLINE_ONLY):
        for row in find_models(db, run, method=method):
            for key, value in row.statistics.items():
                if value is not None:
                    writer.add_scalar(f"online/{method}/{key}", value, row.number, row.created_at)


def _episodes(writer: SummaryWriter, db: Database, run: Run) -> None:
    places: dict[str, int] = {}
    for summary in find_episodes(db, run, status=EpisodeStatus.CLOSED, verdict=Verdict.COMPLETE):
        if not summary.tasks:
            continue
        name = f"success_rate/{summary.plan.phase}/{summary.plan.method}"
        places[name] = places.get(name, 0) + 1
        writer.add_scalar(name, summary.successes / summary.tasks, places[name], summary.closed_at)
