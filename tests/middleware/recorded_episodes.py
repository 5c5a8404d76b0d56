"""Episodes as nodes and controller would record them, made by hand: which node did what is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from middleware.database import Database, Run, find_episodes, load_network, open_episode
from offload.episodes import EpisodePlan
from offload.masks import pack_masks
from offload.outcomes import end_slot
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
) -> dict[str, Any]:
    """A node's decision; the observation is (slot, node, episode, 1), a task stays where it is."""
    mask = np.append(np.full(NODES, has_task), not has_task)
    return {
        "table": "decisions",
        "episode": episode,
        "episode_uid": uid_of(episode),
        "slot": slot,
        "node": node,
        "observation": np.array([slot, node, episode, 1], "<f4").tobytes(),
        "mask": pack_masks(mask).tobytes(),
        "action": node if has_task else NODES,
        "model": None,
        "failed": False,
        "log_probability": log_probability,
        "scores": None,
        "revision": 1,
        "skew_s": 0.0,
        "decision_s": 0.0,
        "probes": 0,
        "execution_queue_length": 0,
        "sending_queue_length": 0,
        "receiving_queue_length": 0,
        "execution_backlog_s": 0.0,
    }


def outcome(
    run: Run, episode: int, slot: int, source: int, kind: str = "success", completion_s: float = 0.15
) -> dict[str, Any]:
    """A task's outcome, written by its own node."""
    time = run.settings.time
    return {
        "table": "outcomes",
        "episode": episode,
        "episode_uid": uid_of(episode),
        "slot": slot,
        "source": source,
        "destination": source,
        "outcome": kind,
        "skew_s": 0.0,
        "decision_s": 0.0,
        "transmission_waiting_s": 0.0,
        "transmission_s": 0.0,
        "handover_s": 0.0,
        "execution_waiting_s": 0.0,
        "execution_s": completion_s,
        "completion_s": completion_s,
        "end_slot": end_slot(slot, completion_s, time.slot_s, time.slots),
        "late": False,
        "transfer": None,
        "written_by": source,
    }


def decisions_of(trace: Trace, episode: int, **more: Any) -> list[dict[str, Any]]:
    """All decisions of an episode, the observation-only tick included."""
    return [
        decision(episode, slot, node, trace.task(slot, node) is not None, **more)
        for slot in range(SLOTS + 1)
        for node in range(NODES)
    ]


def outcomes_of(run: Run, trace: Trace, episode: int) -> list[dict[str, Any]]:
    """A success for every task."""
    return [outcome(run, episode, task.slot, task.source) for task in trace]
