"""Makes the cells of an experiment from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.cells import Cell
from experiments.definitions import Experiment
from experiments.methods import TRAININGS, works_of
from offload.settings import Settings, resolve_settings


@dataclass(frozen=True)
class Scale:
    """How much of an experiment is played.

    networks: of the seed, numbers 0 … K−1; traces: on each network, for the evaluation
    training_seeds: trainings of each method on each network
    """

    networks: int
    traces: int
    training_seeds: int


def plan_cells(experiment: Experiment, base: Settings, methods: Sequence[str], scale: Scale) -> list[Cell]:
    """The cells of all conditions, trainings first, because they take longest. Raises SettingsError.

    base: the settings under the layers of trainings and conditions
    """
    works = works_of(methods)
    trainings = [work for work in works if work in TRAININGS]
    others = [work for work in works if work not in TRAININGS]
    cells = []
    for work in (*trainings, *others):
        seeds = range(1, scale.training_seeds + 1) if work in TRAININGS else (0,)
        for label, settings in condition_settings(experiment, base, work).items():
            text = settings.model_dump_json(exclude={"services"})
            cells += [
                Cell(label, text, network, scale.traces, work, seed)
                for network in range(scale.networks)
                for seed in seeds
            ]
    return cells


def condition_settings(experiment: Experiment, base: Settings, work: str) -> dict[str, Settings]:
    """The settings of each condition for a work."""
    layers = [base.model_dump(mode="json"), *([TRAININGS[work].layer] if work in TRAININGS else [])]
    return {label: resolve_settings([*layers, layer]) for label, layer in experiment.conditions.items()}
