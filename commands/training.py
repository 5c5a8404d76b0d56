"""Trains the actor of the scheduler `scorer` in the numeric twin (`offload train scorer`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from offload.candidates import Decisions
    from offload.settings import Settings

_CANDIDATES = 3
"""The deciding node itself, and the two nodes that `sed-reserve` probes by default."""
_DECISIONS_OF_A_GROUP = 8_000
_TRACE = 5_000_000
"""Not the trace of any phase (`offload/episodes.py`), so that no evaluation plays what an actor was trained on."""


def scorer(
    out: Annotated[Path, typer.Option(help="Folder for the model; it must not contain one.")],
    preset: Annotated[str | None, typer.Option(help="Train for networks of this preset only.")] = None,
    config: Annotated[Path | None, typer.Option(help="Train for networks of this file of settings only.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value. Repeatable.")] = None,
    decisions: Annotated[int, typer.Option(min=1000, help="Number of decisions to learn from.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of networks, traces, failures and weights.")] = 1,
) -> None:
    """Train an actor for the scheduler `scorer` in the numeric twin.

    By default it is trained for networks of 5 to 50 nodes, for several failure rates and loads.
    """
    from rich.console import Console

    from commands.checking import check_settings
    from commands.places import check_folder
    from commands.run import ProgressBars
    from middleware.configuration import load_settings
    from offload.manifest import MANIFEST_FILE
    from offload.settings import SettingsError
    from trainer.scorer.fitting import FitSettings
    from trainer.scorer.general import train

    worlds = [load_settings(preset, config, sets or [])] if preset or config or sets else general_worlds()
    for world in worlds:
        check_settings(world)
        if world.network.arrival_probability[1] == 0:
            raise SettingsError("network.arrival_probability: [0, 0]; without tasks there is nothing to learn from")
    check_folder("--out", out)
    if (out / MANIFEST_FILE).exists():
        raise typer.BadParameter(f"{out} contains a model already; name another folder", param_hint="--out")
    console = Console(stderr=True)
    with ProgressBars(console) as progress:
        trained = train(play(worlds, seed), decisions, FitSettings(), seed, progress)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in trained.files(out.name).items():
        (out / name).write_bytes(content)
    Console().print(
        f"The model is in [bold]{out}[/]. Compare it: "
        f"offload simulate --scheduler sed --scheduler scorer --model {out} --preset paper-simulation"
    )


def general_worlds() -> list[Settings]:
    """Settings of many kinds of networks: sizes, failure rates and loads around those of the paper."""
    from offload.presets import PRESETS
    from offload.settings import resolve_settings

    loads: list[list[float]] = [[0, 1], [0, 1], [0, 0.6], [0.4, 1]]
    kinds: list[tuple[str, int, list[float]]] = [
        *(("paper-simulation", nodes, [0, 0.1]) for nodes in (5, 10, 20, 20, 50)),
        *(("paper-simulation", nodes, [0, 0.3]) for nodes in (10, 20)),
        *(("paper-testbed", nodes, [0, 0.4]) for nodes in (5, 10, 20)),
    ]
    layers: list[tuple[str, dict[str, Any]]] = [
        (preset, {"nodes": nodes, "failure_rate": rates, "arrival_probability": load})
        for preset, nodes, rates in kinds
        for load in loads
    ]
    return [resolve_settings([PRESETS[preset], {"network": network}]) for preset, network in layers]


def play(worlds: Sequence[Settings], seed: int) -> Iterator[Decisions]:
    """Play groups of new networks, each with the settings of one of the worlds; yields their decisions without an end.

    The nodes use `sed-reserve`, with and without confirmation in turn.
    """
    from edgenode.schedulers.reserving import SEDReserve
    from offload import draw_network, draw_trace
    from offload.protocols import SchedulerContext
    from simulator.candidate_play import play_decisions
    from simulator.twin import Twin

    index = 0
    for group in range(1_000_000):
        world = worlds[_spread(group, len(worlds))].model_copy(update={"seed": seed})
        time, nodes = world.time, world.network.nodes
        low, high = world.network.arrival_probability
        of_one = max(1.0, nodes * time.slots * (low + high) / 2)
        count = max(1, round(_DECISIONS_OF_A_GROUP / of_one))
        networks = [draw_network(world.network, seed, index + k) for k in range(count)]
        traces = [draw_trace(world.tasks, one, time.slot_s, time.slots, seed, _TRACE) for one in networks]
        index += count
        twin = Twin(networks, traces, world, of=list(range(count)))
        scheduler = SEDReserve(SchedulerContext(nodes), confirm=group % 2 == 1)
        if any(trace.has_task.any() for trace in traces):
            yield play_decisions(twin, scheduler, _CANDIDATES)


def _spread(number: int, count: int) -> int:
    """0, 1, … mapped to 0 … count−1, so that a few consecutive numbers are far apart (a golden-ratio sequence)."""
    return int((number * 0.6180339887498949) % 1.0 * count)
