"""The unit of work of an experiment: one scheduler, reference or training, on one network in one condition.

The success rates of a cell depend only on its key and on the code. So cells can be computed anywhere, in any order, and
again. Another kind of machine may round differently.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import edgenode.schedulers
import experiments
import offload
import simulator
import trainer
from edgenode.schedulers import create_scheduler
from experiments.learning import learn
from experiments.methods import TRAININGS
from offload.episodes import EVALUATION_TRACES
from offload.network import draw_network
from offload.protocols import SchedulerContext
from offload.settings import Settings
from offload.tasks import draw_trace
from simulator.planners import ceiling, play_central
from simulator.twin import Twin
from trainer.scorer.buffer import NothingToLearnError


@dataclass(frozen=True)
class Cell:
    """The key of a cell.

    condition: its label in the experiment
    settings: JSON of all settings but the services; those of a training include its layer
    network: index of the network drawn from the seed; traces: how many traces are evaluated
    work: of `experiments.methods.works_of`; training_seed: 0 without a training
    """

    condition: str
    settings: str
    network: int
    traces: int
    work: str
    training_seed: int = 0

    @property
    def name(self) -> str:
        """A digest of the key and of the code that computes the cell: the name of the result's file."""
        key = asdict(self) | {"code": _code()}
        del key["condition"]  # a label only
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """A digest of the testbed's sources and models, and of the packages that add schedulers and algorithms."""
    digest = hashlib.sha256()
    for package in (edgenode.schedulers, experiments, offload, simulator, trainer):
        folder = Path(package.__path__[0])
        for path in sorted(one for one in folder.rglob("*") if one.suffix in (".py", ".onnx")):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    for group in ("offload.schedulers", "offload.algorithms"):
        for entry in sorted(entry_points(group=group), key=lambda one: one.name):
            made_by = (entry.dist.name, entry.dist.version) if entry.dist else ()
            digest.update(repr((entry.name, entry.value, made_by)).encode())
    return digest.hexdigest()


def compute(cell: Cell) -> dict[str, Any]:
    """A cell's result: `{"rates": {METHOD: [per trace]}, "online": [per update], "seconds"}`.

    A rate is null for a trace without tasks. `online` is empty without a training.
    """
    began = time.perf_counter()
    settings = Settings.model_validate_json(cell.settings)
    network = draw_network(settings.network, settings.seed, cell.network)
    times, first = settings.time, EVALUATION_TRACES
    traces = [
        draw_trace(settings.tasks, network, times.slot_s, times.slots, settings.seed, number)
        for number in range(first, first + cell.traces)
    ]
    online: list[float] = []
    if cell.work in TRAININGS:
        training = TRAININGS[cell.work]
        try:
            learned = learn(training, settings, network, traces, cell.training_seed)
            rates, online = learned.rates, learned.online
        except NothingToLearnError:  # a network without tasks
            rates = {method: [math.nan] * len(traces) for method in training.methods}
    elif cell.work == "ceiling":
        rates = {cell.work: [ceiling(network, one, settings) if one.has_task.any() else math.nan for one in traces]}
    else:
        twin = Twin([network], traces, settings)
        if cell.work == "central":
            played = play_central(twin)
        else:
            choice = settings.without_model(cell.work)
            played = twin.play(create_scheduler(choice.name, choice.parameters, SchedulerContext(network.nodes)))
        rates = {cell.work: played.success_rates().tolist()}
    return {
        "rates": {method: _known(values) for method, values in rates.items()},
        "online": _known(online),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _known(values: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]
