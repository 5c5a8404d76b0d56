"""Runs episodes in the twin and keeps everything that the testbed would log: the same rows, the same `EpisodeLog`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offload.episodes import EpisodeLog, EpisodePlan, Executions
from offload.masks import pack_masks, recorded_mask
from offload.outcomes import Outcome, end_slot
from offload.profiles import Profile
from offload.protocols import Scheduler
from offload.records import DecisionRecord, OutcomeRecord
from simulator.arrays import SUCCESS, TRANSMISSION_FAILURE, UNDECIDED
from simulator.observations import Observer
from simulator.twin import OUTCOMES, TaskOutcomes, Twin

_BATCH_BYTES = 2e8


@dataclass(frozen=True, eq=False)
class LoggedEpisodes:
    """B episodes with one scheduler, with their T+1 ticks.

    observations: (B, T+1, N, O) float32
    masks: (B, T+1, N, N+1) as recorded; the action taken is legal
    actions: (B, T+1, N); N means "no task"
    log_probabilities: (B, T+1, N); NaN for schedulers without a policy
    scores: (B, T+1, N, N); NaN for nodes that the scheduler did not score
    probes: (B, T+1, N) number of other nodes that were probed
    execution_queue_length, sending_queue_length, receiving_queue_length: (B, T+1, N) tasks at the ticks
    execution_backlog_s: (B, T+1, N) seconds at the ticks
    team_reward: (B, T)
    """

    slot_s: float
    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    actions: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    probes: NDArray[np.int64]
    execution_queue_length: NDArray[np.int64]
    sending_queue_length: NDArray[np.int64]
    receiving_queue_length: NDArray[np.int64]
    execution_backlog_s: NDArray[np.float64]
    team_reward: NDArray[np.float64]
    outcomes: TaskOutcomes

    def log(self, b: int, number: int, plan: EpisodePlan) -> EpisodeLog:
        """Episode `b` in the form that the trainer reads, with its number in the run."""
        ended = self.outcomes
        outcome, sent = ended.outcome[b], ended.destination[b] != np.arange(ended.destination.shape[2])
        failed = (outcome == TRANSMISSION_FAILURE) | (outcome == UNDECIDED)
        arrived = ~failed & (~sent | (ended.transmission_s[b] > 0))
        arrival_s = ended.end_s[b] - ended.execution_s[b] - ended.execution_waiting_s[b]
        return EpisodeLog(
            episode=number,
            plan=plan,
            observations=self.observations[b],
            masks=self.masks[b],
            actions=self.actions[b],
            log_probabilities=self.log_probabilities[b],
            up=np.ones(self.actions.shape[1:], bool),
            team_reward=self.team_reward[b],
            tasks=int((outcome != UNDECIDED).sum()),
            successes=int((outcome == SUCCESS).sum()),
            executions=Executions(np.where(arrived, arrival_s, np.nan), np.where(arrived, ended.execution_s[b], 0.0)),
        )

    def decision_records(self, b: int, number: int, uid: str, model: str | None, revision: int) -> list[DecisionRecord]:
        """All nodes' decision records of all ticks, for the episode with this number and uid.

        model: the model whose actor decided; None for a scheduler that asks none
        """
        ticks, nodes = self.actions.shape[1:]
        masks, observations = pack_masks(self.masks[b]), self.observations[b].astype("<f4")
        scores = self.scores[b].astype("<f4")
        records = []
        for slot in range(ticks):
            for node in range(nodes):
                place = b, slot, node
                action, logged = int(self.actions[place]), float(self.log_probabilities[place])
                idle = action == nodes
                records.append(
                    DecisionRecord(
                        episode=number,
                        episode_uid=uid,
                        slot=slot,
                        node=node,
                        observation=observations[slot, node].tobytes(),
                        mask=masks[slot, node].tobytes(),
                        action=action,
                        model=model,
                        failed=False,
                        log_probability=(0.0 if model else None) if idle else None if np.isnan(logged) else logged,
                        scores=None if idle else scores[slot, node].tobytes(),
                        revision=revision,
                        skew_s=0.0,
                        decision_s=0.0,
                        probes=int(self.probes[place]),
                        execution_queue_length=int(self.execution_queue_length[place]),
                        sending_queue_length=int(self.sending_queue_length[place]),
                        receiving_queue_length=int(self.receiving_queue_length[place]),
                        execution_backlog_s=float(self.execution_backlog_s[place]),
                    )
                )
        return records

    def outcome_records(self, b: int, number: int, uid: str) -> list[OutcomeRecord]:
        """The record of every task. `written_by` is the node that had the task when it ended."""
        ended, slots = self.outcomes, self.team_reward.shape[1]
        records = []
        for slot, source in np.argwhere(ended.outcome[b] != UNDECIDED).tolist():
            place = b, slot, source
            outcome, destination = OUTCOMES[ended.outcome[place]], int(ended.destination[place])
            assert outcome is not None
            completion_s = float(ended.end_s[place]) - slot * self.slot_s
            sent = destination != source
            arrived = not sent or (ended.transmission_s[place] > 0 and outcome is not Outcome.TRANSMISSION_FAILURE)
            records.append(
                OutcomeRecord(
                    episode=number,
                    episode_uid=uid,
                    slot=slot,
                    source=source,
                    destination=destination,
                    outcome=outcome,
                    skew_s=0.0,
                    decision_s=0.0,
                    transmission_waiting_s=float(ended.transmission_waiting_s[place]),
                    transmission_s=float(ended.transmission_s[place]),
                    handover_s=0.0,
                    execution_waiting_s=float(ended.execution_waiting_s[place]),
                    execution_s=float(ended.execution_s[place]),
                    completion_s=completion_s,
                    end_slot=end_slot(slot, completion_s, self.slot_s, slots),
                    late=False,
                    transfer="emulated" if sent else None,
                    written_by=destination if arrived else source,
                )
            )
        return records


def play_logged(twin: Twin, scheduler: Scheduler, profile: Profile) -> LoggedEpisodes:
    """Run all slots of fresh episodes with a scheduler, and keep what the testbed would log."""
    shape = twin.batch, twin.slots + 1, twin.nodes
    observer = Observer(twin, profile)
    observations = np.empty((*shape, observer.shape[-1]), np.float32)
    masks = np.empty((*shape, twin.nodes + 1), bool)
    actions = np.full(shape, twin.nodes, np.int64)
    log_probabilities = np.full(shape, np.nan, np.float32)
    scores = np.full((*shape, twin.nodes), np.nan, np.float32)
    probes, execution, sending, receiving = (np.zeros(shape, np.int64) for _ in range(4))
    backlog_s = np.zeros(shape)
    has_policy = False
    for slot in range(twin.slots + 1):
        at = slice(None), slot
        observer.observe(observations[:, slot], masks[:, slot])
        known = twin.knowledge
        execution[at], backlog_s[at] = known.execution_length, known.execution_backlog_s
        sending[at], receiving[at] = known.sending_length.sum(axis=2), known.receiving_length.sum(axis=2)
        if slot == twin.slots:
            break
        destinations = np.full((twin.batch, twin.nodes), -1, np.int64)
        if twin.has_task.any():
            made = twin.decisions(scheduler)
            choice, place = made.choice, (made.episode, slot, made.node)
            destinations[made.episode, made.node] = actions[place] = choice.destination
            scores[place], log_probabilities[place], probes[place] = choice.scores, choice.log_probability, made.probes
            has_policy = has_policy or bool(np.isfinite(choice.log_probability).any())
            masks[place] = recorded_mask(masks[place], choice.destination)
        twin.decide(destinations)
    if has_policy:  # "no task" is the only legal action then
        log_probabilities[actions == twin.nodes] = 0.0
    return LoggedEpisodes(
        twin.slot_s, observations, masks, actions, log_probabilities, scores, probes,
        execution, sending, receiving, backlog_s, twin.team_reward.copy(), twin.task_outcomes(),
    )  # fmt: skip


def batches(count: int, slots: int, nodes: int, elements: int) -> Sequence[range]:
    """Split the episodes 0 … count−1 into ranges whose logs take about 200 MB each."""
    of_one = (slots + 1) * nodes * (4 * elements + 5 * nodes + 100)
    size = max(1, min(count, int(_BATCH_BYTES / of_one)))
    return [range(first, min(first + size, count)) for first in range(0, count, size)]
