"""Replays a run's recorded episodes in the numeric twin, and compares them task by task (`offload parity DIR`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from commands.recorded import DatabaseUrl, Folder, RunName, open_recorded_run
from offload.episodes import Verdict

if TYPE_CHECKING:
    from evaluation.parity import TwinOutcomes
    from middleware.database import Database, Run, TaskColumns

_SIDE_BY_SIDE = 32


def parity(
    folder: Folder,
    name: RunName = None,
    database: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of sentences.")] = False,
) -> None:
    """Replay a run's episodes in the twin, and compare each task's outcome and times with the testbed's."""
    import json

    from rich.console import Console

    from evaluation.wording import parity_verdict

    with open_recorded_run(folder, database, name) as (db, run):
        console = Console(stderr=True)
        with console.status("replaying the recorded episodes"):
            found = run_parity(db, run)
        if as_json:
            typer.echo(json.dumps(found, allow_nan=False))
            return
        out = Console()
        if not found:
            out.print(f"nothing to compare: run '{run.name}' has no complete episode of the testbed with a task")
        for transfer, values in found.items():
            out.print(parity_verdict(transfer, values))
            for pair, count in values["different_outcomes"].items():
                out.print(f"  {count} tasks: {pair} (testbed → twin)")


def run_parity(db: Database, run: Run) -> dict[str, Any]:
    """Parity of all complete episodes that the testbed played; empty if there is none."""
    from evaluation.parity import measure_parity
    from evaluation.results import EXPERIMENT_PHASES
    from middleware.database import find_episodes, read_tasks

    if run.by_twin:
        return {}
    complete = find_episodes(db, run, verdict=Verdict.COMPLETE)
    numbers = [one.episode for one in complete if one.plan.phase in EXPERIMENT_PHASES]
    if not numbers:
        return {}
    measured, replayed = [], []
    for first in range(0, len(numbers), _SIDE_BY_SIDE):
        part = numbers[first : first + _SIDE_BY_SIDE]
        of_episode = [read_tasks(db, run, [number]) for number in part]
        measured += of_episode
        replayed += _replay(db, run, part, of_episode)
    return measure_parity(_joined(measured), _joined(replayed), run.settings.node.transfer)


def recorded_parity(db: Database, run: Run) -> dict[str, Any] | None:
    """Parity for a report; None if the twin is not installed."""
    try:
        return run_parity(db, run)
    except ModuleNotFoundError:
        return None


def _replay(db: Database, run: Run, numbers: Sequence[int], measured: Sequence[TaskColumns]) -> list[TwinOutcomes]:
    from evaluation.parity import TwinOutcomes
    from middleware.database import load_network, load_trace, read_episode_log
    from simulator.twin import OUTCOMES, Twin

    traces = [load_trace(db, run, number) for number in numbers]
    slots = run.settings.time.slots
    destinations = np.stack([read_episode_log(db, run, number).actions[:slots] for number in numbers])
    for b, trace in enumerate(traces):
        # No decision was made for a task that arrived while its node was down. The testbed lost it; the twin keeps it
        # on that node.
        undecided = trace.has_task & (destinations[b] >= trace.nodes)
        destinations[b][undecided] = np.broadcast_to(np.arange(trace.nodes), undecided.shape)[undecided]
    replayed = Twin([load_network(db, run)], traces, run.settings).play_given(destinations)
    names = np.array(["" if one is None else one.value for one in OUTCOMES])
    found = []
    for b, columns in enumerate(measured):
        place = b, columns.slot, columns.source
        durations = {
            name: getattr(replayed, name)[place]
            for name in ("transmission_waiting_s", "transmission_s", "execution_waiting_s", "execution_s")
        }
        completion_s = replayed.end_s[place] - columns.slot * run.settings.time.slot_s
        found.append(TwinOutcomes(outcome=names[replayed.outcome[place]], completion_s=completion_s, **durations))
    return found


def _joined(parts: Sequence[Any]) -> Any:
    return type(parts[0])(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
