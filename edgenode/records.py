"""What a node records: a row of `decisions` per tick, a row of `outcomes` per task (`middleware/database/schema.py`).

Beside the columns, each record has the uid of its episode, by which `write_records` knows what it belongs to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgenode.effects import Ended
from edgenode.facts import EpisodeFacts, Snapshot
from offload.masks import action_mask, pack_masks, recorded_mask
from offload.profiles import Profile
from offload.protocols import Choice


def decision_record(
    facts: EpisodeFacts,
    snapshot: Snapshot,
    profile: Profile,
    choice: Choice | None,
    *,
    model: str | None,
    failed: bool,
    revision: int,
    probes: int,
    decision_s: float,
) -> dict[str, Any]:
    """The row of a tick; `choice` is None without a task: then the only legal action, N, was taken.

    model: whose actor this decision asked; failed: the scheduler raised, so `choice` is not its own
    """
    states = snapshot.states
    n = states.nodes
    action = n if choice is None else int(choice.destination[0])
    mask = recorded_mask(action_mask(states), np.array([action]))
    if choice is None:
        log_probability = 0.0 if model else None
    else:
        value = float(choice.log_probability[0])
        log_probability = None if np.isnan(value) else value
    return {
        "table": "decisions",
        "episode": facts.episode,
        "episode_uid": facts.episode_uid,
        "slot": snapshot.slot,
        "node": facts.node,
        "observation": profile.encode(states).astype("<f4").tobytes(),
        "mask": pack_masks(mask).tobytes(),
        "action": action,
        "model": model,
        "failed": failed,
        "log_probability": log_probability,
        "scores": None if choice is None else choice.scores[0].astype("<f4").tobytes(),
        "revision": revision,
        "skew_s": max(0.0, snapshot.at_s - snapshot.slot * facts.slot_s),
        "decision_s": decision_s,
        "probes": probes,
        "execution_queue_length": int(states.execution_queue_length[0]),
        "sending_queue_length": int(states.sending_queue_length.sum()),
        "receiving_queue_length": int(states.receiving_queue_length.sum()),
        "execution_backlog_s": float(states.execution_backlog_s[0]),
    }


def outcome_record(facts: EpisodeFacts, ended: Ended) -> dict[str, Any]:
    """The row of a task that has ended at this node."""
    journey = ended.journey
    return {
        "table": "outcomes",
        "episode": facts.episode,
        "episode_uid": facts.episode_uid,
        "slot": journey.slot,
        "source": journey.source,
        "destination": journey.destination,
        "outcome": ended.outcome.value,
        "skew_s": journey.skew_s,
        "decision_s": journey.decision_s,
        "transmission_waiting_s": journey.transmission_waiting_s,
        "transmission_s": journey.transmission_s,
        "handover_s": journey.handover_s,
        "execution_waiting_s": journey.execution_waiting_s,
        "execution_s": journey.execution_s,
        "completion_s": ended.completion_s,
        "end_slot": ended.end_slot,
        "late": ended.late,
        "transfer": journey.transfer,
        "written_by": facts.node,
    }
