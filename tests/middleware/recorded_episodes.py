"""Creates the records of nodes and controller by hand, with known decisions and outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from small_records import decision_record, outcome_record

from middleware.database import Database, Refused, Run, find_episodes, load_network, open_episode
from offload.episodes import EpisodePlan
from offload.masks import pack_masks
from offload.outcomes import Outcome, end_slot
from offload.records import DecisionRecord, OutcomeRecord, Record
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import Trace, draw_trace

NODES, SLOTS, OBSERVATION = 3, 6, 4


def opened(db: Database, run: Run, number: int = 0, plan: EpisodePlan | None = None) -> tuple[int, Trace]:
    """An open episode and its trace."""
    plan = plan or EpisodePlan("collect", "ratc", number, SchedulerChoice("ratc"))
    time = run.settings.time
    trace = draw_trace(
        run.settings.tasks, load_network(db, run), time.slot_s, time.slots, run.settings.seed, plan.trace
    )
    number = 1 + max((one.episode for one in find_episodes(db, run, status=None)), default=0)
    return open_episode(db, run, plan, trace, 1, uid_of(number)), trace


def uid_of(episode: int) -> str:
    """The uid that `opened` gives an episode."""
    return f"{episode:032x}"


def decision(
    episode: int, slot: int, node: int, has_task: bool = False, log_probability: float | None = None
) -> DecisionRecord:
    """A node's decision. The observation is (slot, node, episode, 1), and the task stays where it is."""
    mask = np.append(np.full(NODES, has_task), not has_task)
    return decision_record(
        episode=episode,
        episode_uid=uid_of(episode),
        slot=slot,
        node=node,
        observation=np.array([slot, node, episode, 1], "<f4").tobytes(),
        mask=pack_masks(mask).tobytes(),
        action=node if has_task else NODES,
        log_probability=log_probability,
    )


def outcome(
    run: Run, episode: int, slot: int, source: int, kind: str = "success", completion_s: float = 0.15
) -> OutcomeRecord:
    """A task's outcome, written by the node that received it."""
    time = run.settings.time
    return outcome_record(
        episode=episode,
        episode_uid=uid_of(episode),
        slot=slot,
        source=source,
        destination=source,
        outcome=Outcome(kind),
        execution_s=completion_s,
        completion_s=completion_s,
        end_slot=end_slot(slot, completion_s, time.slot_s, time.slots),
        written_by=source,
    )


def decisions_of(trace: Trace, episode: int, **more: Any) -> list[DecisionRecord]:
    """All decisions of an episode, including the observation-only tick."""
    return [
        decision(episode, slot, node, trace.task(slot, node) is not None, **more)
        for slot in range(SLOTS + 1)
        for node in range(NODES)
    ]


def outcomes_of(run: Run, trace: Trace, episode: int) -> list[OutcomeRecord]:
    """A success for every task."""
    return [outcome(run, episode, task.slot, task.source) for task in trace]


def contents(records: Sequence[Record | Refused]) -> list[dict[str, Any]]:
    """What is delivered of records; of refused ones, what was delivered."""
    return [dict(one.content) if isinstance(one, Refused) else one.content() for one in records]
