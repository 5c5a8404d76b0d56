"""Plays given tasks on a given network in the numeric twin, and prints each task's outcome and times.

Use `offload replay` to check the model by hand on a small example (docs/twin.md, "Check the model by hand").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

if TYPE_CHECKING:
    from offload.network import Network
    from offload.settings import Settings
    from offload.tasks import Trace
    from simulator.twin import TaskOutcomes

_DURATIONS = ("transmission_waiting_s", "transmission_s", "execution_waiting_s", "execution_s", "end_s")
_DIGITS = 6


def replay(
    network: Annotated[Path, typer.Option(help="net.json: nodes, rates_bps, link_failure_rates.")],
    tasks: Annotated[Path, typer.Option(help="tasks.json: slot_s, tasks sorted by slot, then source.")],
    decisions: Annotated[
        Path | None, typer.Option(help="decisions.json: a list of destinations, one per task.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Scheduler that decides, instead of --decisions.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a model, for schedulers that need an actor.")] = None,
    failures: Annotated[
        Literal["none", "drawn"], typer.Option(help="Whether executions and transmissions fail.")
    ] = "none",
    failure_timing: Annotated[
        Literal["end", "event"],
        typer.Option(help="When a failed task frees its resource: at the planned end, or at the failure."),
    ] = "end",
    seed: Annotated[int, typer.Option(help="Seed of the draws of failures and decisions.")] = 1,
    episode: Annotated[
        int | None, typer.Option(help="Episode number for these draws. Default: that of tasks.json, or 0.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, such as scheduler.parameters.d=3. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Play given tasks on a given network in exact virtual time, with given decisions or a scheduler's."""
    from dataclasses import replace

    from rich.console import Console

    from middleware.configuration import load_settings
    from simulator.twin import Twin

    given = _network(network)
    trace = _trace(tasks, given)
    if episode is not None:
        if not 0 <= episode <= 0xFFFFFFFF:
            raise _wrong("--episode", f"{episode} is not in 0 … 4294967295")
        trace = replace(trace, episode=episode)
    if (decisions is None) == (scheduler is None):
        raise typer.BadParameter("give either --decisions or --scheduler")
    longest_s = float(trace.deadline_s.max()) or 1.0  # the overload threshold's default is a share of the deadline
    base = [
        f"seed={seed}",
        f"network.nodes={given.nodes}",
        f"tasks.deadline_s={longest_s!r}",
        f"time.failure_timing={failure_timing}",
    ]
    settings = load_settings(sets=[*base, *(sets or [])])
    twin = Twin([given], [trace], settings, failures=failures == "drawn")
    with Console(stderr=True).status("playing; the first use compiles the twin"):
        if decisions is not None:
            played = twin.play_given(_decisions(decisions, trace))
        else:
            assert scheduler is not None
            played = twin.play(_scheduler(scheduler, settings, given, model))
    rows = task_rows(played, trace)
    if as_json:
        typer.echo(json.dumps({"tasks": rows}, allow_nan=False))
    else:
        _show(rows, trace)


def task_rows(played: TaskOutcomes, trace: Trace) -> list[dict[str, Any]]:
    """A row per task of one episode, sorted by slot, then source. Times in seconds, rounded to 1 µs."""
    from simulator.twin import OUTCOMES

    rows = []
    for slot, source in np.argwhere(trace.has_task).tolist():
        place = 0, slot, source
        outcome = OUTCOMES[played.outcome[place]]
        assert outcome is not None
        times = {name: round(float(getattr(played, name)[place]), _DIGITS) for name in _DURATIONS}
        rows.append({"destination": int(played.destination[place]), "outcome": outcome.value, **times})
    return rows


def _network(path: Path) -> Network:
    from offload.network import Network

    try:
        return Network.from_json(_json(path, "--network"))
    except ValueError as wrong:
        raise _wrong("--network", f"{path}: {wrong}") from None


def _trace(path: Path, network: Network) -> Trace:
    from offload.tasks import Trace

    data = _json(path, "--tasks")
    try:
        trace = Trace.from_json(data, network.nodes)
        places = [(task["slot"], task["source"]) for task in data["tasks"]]
        for number in range(1, len(places)):
            if places[number] < places[number - 1]:
                raise ValueError(f"tasks[{number}]: is out of order; sort tasks by slot, then source")
        if not places:
            raise ValueError("tasks: the list is empty")
        return trace
    except ValueError as wrong:
        raise _wrong("--tasks", f"{path}: {wrong}") from None


def _decisions(path: Path, trace: Trace) -> np.ndarray[Any, np.dtype[np.int64]]:
    given = _json(path, "--decisions")
    count = int(trace.has_task.sum())
    if not isinstance(given, list) or len(given) != count:
        found = f"{len(given)} entries" if isinstance(given, list) else f"a {type(given).__name__}"
        raise _wrong("--decisions", f"{path} contains {found}; write a list of {count} destinations, one per task")
    for number, one in enumerate(given):
        if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < trace.nodes:
            raise _wrong(
                "--decisions", f"{path}: the destination of task {number} is {one!r}; nodes are 0 to {trace.nodes - 1}"
            )
    destinations = np.full((1, *trace.has_task.shape), -1, np.int64)
    destinations[0][trace.has_task] = given
    return destinations


def _scheduler(name: str, settings: Settings, network: Network, model: Path | None) -> Any:
    from commands.twin_schedulers import make_scheduler, read_model

    try:
        found = None if model is None else read_model(model, network.nodes)
        return make_scheduler(name, settings.scheduler.parameters, network, found)
    except ValueError as wrong:
        raise _wrong("--scheduler", str(wrong)) from None


def _json(path: Path, option: str) -> Any:
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once_each)
    except OSError as error:
        raise _wrong(option, f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _wrong(option, f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise _wrong(option, f"{path} is nested too deeply") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with unique keys. Python's own reader would silently use the last of two equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is given twice in one object")
    return found


def _wrong(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)


def _show(rows: list[dict[str, Any]], trace: Trace) -> None:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    table = Table(title="times in seconds", title_justify="left")
    for column in ("slot", "from", "to", "link\nwait", "trans-\nmission", "queue\nwait", "exe-\ncution", "end"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("outcome")
    for (slot, source), row in zip(np.argwhere(trace.has_task).tolist(), rows, strict=True):
        times = [f"{row[name]:.4f}" if row[name] else "–" for name in _DURATIONS]
        table.add_row(str(slot), str(source), str(row["destination"]), *times, row["outcome"].replace("_", " "))
    console = Console()
    console.print(table)
    counts = Counter(row["outcome"].replace("_", " ") for row in rows)
    console.print(f"{len(rows)} tasks: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
