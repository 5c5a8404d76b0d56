"""Compares schedulers with a reference planner and an upper bound, in the numeric twin (`offload simulate`)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

if TYPE_CHECKING:
    from commands.twin_schedulers import Model
    from offload.network import Network
    from offload.settings import Settings
    from offload.tasks import Trace

REFERENCES = ("central", "ceiling")
_MOST_EPISODES = 64
"""Episodes that the twin plays in one batch. A larger batch is not faster."""


def simulate(
    schedulers: Annotated[
        list[str],
        typer.Option(
            "--scheduler", help="A scheduler, the reference planner central, or the upper bound ceiling. Repeatable."
        ),
    ],
    preset: Annotated[str | None, typer.Option(help="A named experiment: demo, paper-simulation, …")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; it may name a preset.")] = None,
    networks: Annotated[int, typer.Option(min=1, help="Number of networks drawn from the seed.")] = 20,
    episodes: Annotated[int, typer.Option(min=1, help="Traces on each network; the same for all schedulers.")] = 4,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of networks, traces and failures.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a model, for drl, drl-probe and scorer.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """Compare schedulers on the same networks, traces and failures, with thousands of episodes per minute."""
    from rich.console import Console
    from rich.progress import Progress

    from commands.checking import check_settings
    from middleware.configuration import load_settings
    from offload.network import draw_network

    given = [] if seed is None else [f"seed={seed}"]
    settings = load_settings(preset, config, [*given, *(sets or [])])
    check_settings(settings)
    read = check_schedulers(schedulers, settings, model)
    rates: dict[str, list[float | None]] = {name: [] for name in schedulers}
    decisions = took_s = 0.0
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("networks", total=networks * len(rates))
        for index in range(networks):
            network = draw_network(settings.network, settings.seed, index)
            traces = _traces(settings, network, episodes)
            for name in rates:
                began = time.perf_counter()
                rates[name].append(success_rate(name, settings, network, traces, read))
                if name != "ceiling":
                    took_s += time.perf_counter() - began
                    decisions += sum(int(trace.has_task.sum()) for trace in traces)
                bars.advance(bar)
    found = {name: _estimated(values) for name, values in rates.items()}
    per_second = decisions / took_s if took_s else None
    if as_json:
        typer.echo(json.dumps({"schedulers": found, "decisions_per_s": per_second}, allow_nan=False))
    else:
        _show(found, networks, episodes, per_second)


def check_schedulers(names: list[str], settings: Settings, model: Path | None) -> Model | None:
    """Check, before an episode is played, that all schedulers can be created. Returns the model, if there is one.

    Raises typer.BadParameter.
    """
    from commands.twin_schedulers import make_scheduler, read_model
    from offload.network import draw_network

    network = draw_network(settings.network, settings.seed, 0)
    try:
        read = None if model is None else read_model(model, network.nodes)
        for name in names:
            if name not in REFERENCES:
                make_scheduler(name, settings.without_model(name).parameters, network, read)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--scheduler") from None
    return read


def success_rate(
    name: str, settings: Settings, network: Network, traces: list[Trace], model: Model | None
) -> float | None:
    """The mean success rate of a scheduler, of the reference planner or of the upper bound on one network.

    Traces without tasks are left out. None if no trace has tasks.
    """
    from commands.twin_schedulers import make_scheduler
    from simulator.planners import ceiling, play_central
    from simulator.twin import Twin

    traces = [trace for trace in traces if trace.has_task.any()]
    if not traces:
        return None
    if name == "ceiling":
        return float(np.mean([ceiling(network, trace, settings) for trace in traces]))
    parts = [traces[first : first + _MOST_EPISODES] for first in range(0, len(traces), _MOST_EPISODES)]
    twins = [Twin([network], part, settings) for part in parts]
    if name == "central":
        played = [play_central(twin) for twin in twins]
    else:
        scheduler = make_scheduler(name, settings.without_model(name).parameters, network, model)
        played = [twin.play(scheduler) for twin in twins]
    return float(np.mean(np.concatenate([one.success_rates() for one in played])))


def _estimated(rates: list[float | None]) -> dict[str, Any]:
    """A scheduler's entry in the `--json` output: mean, confidence interval, and the rate on each network.

    The rate is null for a network without tasks. Such networks are left out of the mean.
    """
    from evaluation.statistics import estimate_mean

    known = [rate for rate in rates if rate is not None]
    if not known:
        return {"mean": None, "ci95": None, "networks": rates}
    estimate = estimate_mean(known, 0.95)
    # A rate is between 0 and 1. The interval of a few networks may extend beyond.
    interval = None if estimate.interval is None else [min(max(end, 0.0), 1.0) for end in estimate.interval]
    return {"mean": estimate.mean, "ci95": interval, "networks": rates}


def _traces(settings: Settings, network: Network, episodes: int) -> list[Trace]:
    from offload.episodes import EVALUATION_TRACES
    from offload.tasks import draw_trace

    times = settings.time
    return [
        draw_trace(settings.tasks, network, times.slot_s, times.slots, settings.seed, EVALUATION_TRACES + number)
        for number in range(episodes)
    ]


def _show(found: dict[str, Any], networks: int, episodes: int, per_second: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"success rates on {networks} networks, {episodes} traces each", title_justify="left")
    table.add_column("scheduler")
    for column in ("success %", "95% interval over networks", "lowest", "highest"):
        table.add_column(column, justify="right")
    for name, values in sorted(found.items(), key=lambda item: -(item[1]["mean"] or 0.0)):
        known = [rate for rate in values["networks"] if rate is not None]
        if not known:
            table.add_row(name, *4 * ["–"])
            continue
        interval = values["ci95"]
        between = "–" if interval is None else f"{interval[0] * 100:.1f} … {interval[1] * 100:.1f}"
        low, high = min(known), max(known)
        table.add_row(name, f"{values['mean'] * 100:.1f}", between, f"{low * 100:.1f}", f"{high * 100:.1f}")
    console = Console()
    console.print(table)
    if per_second is not None:
        console.print(f"{per_second:,.0f} task decisions per second (ceiling and trace generation not counted)")
