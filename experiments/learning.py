"""Trains actors in the twin with the pipeline's algorithms, in memory: no database, no storage, no resuming.

The phases, traces and random numbers are those of `offload run --twin` (`trainer/pipeline.py`). The training's seed
keys the initial weights, the minibatches and the drawn candidates, but not the network, the traces and the failures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.actor import OnnxActor
from experiments.methods import Training
from offload.candidates import Decisions
from offload.episodes import EpisodeLog, EpisodePlan
from offload.network import Network
from offload.profiles import make_profile
from offload.protocols import Scheduler, SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings
from offload.tasks import Trace, draw_trace
from simulator.records import batches, play_logged
from simulator.twin import Twin
from trainer.algorithms import create_offline, create_online, trained_profile, trained_scheduler
from trainer.algorithms.protocols import TrainingState
from trainer.export import actor_to_onnx
from trainer.learner import check_finite
from trainer.plans import O2O_DRL, collect_plans, online_plans
from trainer.replay import ReplayBuffer
from trainer.scorer.buffer import CandidateBuffer
from trainer.scorer.rebuilding import rebuilt
from trainer.seeds import Stream, generator
from trainer.transitions import transitions_of


@dataclass
class Learned:
    """What a training gave.

    rates: by method, the success rate on each evaluation trace; NaN for a trace without tasks
    online: the mean success rate of the episodes of each update
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    online: list[float] = field(default_factory=list)


def learn(training: Training, settings: Settings, network: Network, traces: Sequence[Trace], seed: int) -> Learned:
    """Train on one network, and evaluate after each phase. settings: with the training's layer"""
    torch.set_num_threads(1)
    made = _Run(settings, network)
    seeded = settings.model_copy(update={"seed": seed})
    found = Learned()
    online = create_online(seeded)
    state: TrainingState = online.fresh()
    if training.offline is not None:
        trained = made.learn_offline(seeded)
        found.rates[training.offline] = made.evaluate(trained, traces)
        online.start_from(state, trained.to_bytes())
    updates = settings.online.episodes // settings.online.episodes_per_update
    for update in range(1, updates + 1):
        logs = list(made.play(online_plans(seeded, O2O_DRL, update), state))
        tasks = sum(log.tasks for log in logs)
        found.online.append(sum(log.successes for log in logs) / tasks if tasks else float("nan"))
        online.update(state, made.experience(logs, seed), updates)
    found.rates[training.online] = made.evaluate(state, traces)
    return found


class _Run:
    """Plays and learns on one network."""

    def __init__(self, settings: Settings, network: Network) -> None:
        self._settings, self._network = settings, network
        self._profile = make_profile(settings)
        self._of_candidates = trained_scheduler(settings) == "scorer"

    def learn_offline(self, seeded: Settings) -> TrainingState:
        """Collect the heuristic's logs, and train on them."""
        settings = self._settings
        algorithm = create_offline(seeded)
        buffer = self._buffer(seeded)
        state: TrainingState = algorithm.fresh(buffer.reward_statistics())
        while state.step < settings.offline.steps:
            draws = generator(seeded.seed, Stream.REPLAY, state.step)
            numbers = algorithm.train(state, buffer.sample(draws, settings.offline.batch_slots))
        check_finite(
            {key: float(value) for key, value in numbers.items()},
            "the last step",
            f"learning rate of {settings.offline.algorithm}",
        )
        return state

    def _buffer(self, seeded: Settings) -> ReplayBuffer | CandidateBuffer:
        settings, slots = self._settings, self._settings.time.slots
        plans = collect_plans(settings)
        if self._of_candidates:
            candidates = CandidateBuffer(settings.offline.buffer_slots, self._network.nodes)
            for log in self.play(plans):
                candidates.append(self._rebuilt(log, seeded.seed), slots)
            return candidates
        capacity = min(settings.offline.buffer_slots, len(plans) * (slots + 1))
        transitions = ReplayBuffer(capacity, self._network.nodes, self._profile.size)
        for log in self.play(plans):
            transitions.append(transitions_of(log))
        return transitions

    def experience(self, logs: Sequence[EpisodeLog], seed: int) -> Sequence[EpisodeLog] | Sequence[Decisions]:
        """What the online algorithm learns from."""
        return [self._rebuilt(log, seed) for log in logs] if self._of_candidates else logs

    def _rebuilt(self, log: EpisodeLog, seed: int) -> Decisions:
        return rebuilt(log, self._network, self._profile, self._settings.time.slot_s, seed)

    def play(self, plans: Sequence[EpisodePlan], state: TrainingState | None = None) -> Iterator[EpisodeLog]:
        """Play plans with the same scheduler. state: with the actor; None for a scheduler without one"""
        settings = self._settings
        scheduler = self._scheduler(plans[0].scheduler, state)
        for part in batches(len(plans), settings.time.slots, self._network.nodes, self._profile.size):
            some = [plans[k] for k in part]
            traces = [self._trace(plan.trace) for plan in some]
            played = play_logged(Twin([self._network], traces, settings), scheduler, self._profile)
            for b, plan in enumerate(some):
                yield played.log(b, b, plan)

    def evaluate(self, state: TrainingState, traces: Sequence[Trace]) -> list[float]:
        """The success rate of an actor on each trace."""
        scheduler = self._scheduler(SchedulerChoice(trained_scheduler(self._settings)), state)
        rates = Twin([self._network], list(traces), self._settings).play(scheduler).success_rates()
        return [float(rate) for rate in rates]

    def _scheduler(self, choice: SchedulerChoice, state: TrainingState | None) -> Scheduler:
        actor: Any = None if state is None else OnnxActor(actor_to_onnx(state.actor))
        profile = None if state is None else trained_profile(self._settings)
        context = SchedulerContext(self._network.nodes, profile, actor)
        return create_scheduler(choice.name, choice.parameters, context)

    def _trace(self, number: int) -> Trace:
        settings, time = self._settings, self._settings.time
        return draw_trace(settings.tasks, self._network, time.slot_s, time.slots, settings.seed, number)
