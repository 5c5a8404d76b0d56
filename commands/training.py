"""Trains the actor of the scheduler `scorer` in the numeric twin (`offload train scorer`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    import torch
    from rich.console import Console

    from commands.checking import check_settings
    from commands.places import check_folder
    from commands.run import ProgressBars
    from middleware.configuration import load_settings
    from offload.manifest import MANIFEST_FILE, check_version
    from offload.settings import SettingsError
    from simulator.training_groups import general_settings, play_groups
    from trainer.scorer.general import FitSettings, train

    own = bool(preset or config or sets)
    kinds = [load_settings(preset, config, sets or [])] if own else general_settings()
    for kind in kinds:
        check_settings(kind)
        if kind.network.arrival_probability[1] == 0:
            raise SettingsError("network.arrival_probability: [0, 0]; without tasks there is nothing to learn from")
    version = out.resolve().name
    check_version(version)
    check_folder("--out", out)
    if (out / MANIFEST_FILE).exists():
        raise typer.BadParameter(f"{out} contains a model already; name another folder", param_hint="--out")
    torch.set_num_threads(1)  # the network is small: more threads are slower
    console = Console(stderr=True)
    with ProgressBars(console) as progress:
        trained = train(play_groups(kinds, seed), decisions, FitSettings(), seed, progress)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in trained.files(version).items():
        (out / name).write_bytes(content)
    Console().print(
        f"The model is in [bold]{out}[/]. Compare it: "
        f"offload simulate --scheduler sed --scheduler scorer --model {out} --preset paper-simulation"
    )
