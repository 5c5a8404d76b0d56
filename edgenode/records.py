"""Makes a node's records: a decision per tick, an outcome per task (`offload/records.py`)."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from edgenode.effects import Ended
from edgenode.facts import EpisodeFacts, NodeTask, Snapshot
from offload.masks import action_mask, pack_masks, recorded_mask
from offload.profiles import Profile
from offload.protocols import Choice
from offload.records import DecisionRecord, OutcomeRecord

_MEASURED = sorted({field.name for field in fields(OutcomeRecord)} & {field.name for field in fields(NodeTask)})
"""The measured fields of an ended task, which `NodeTask` and `OutcomeRecord` share."""


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
) -> DecisionRecord:
    """The record of a tick. Without a task `choice` is None, and the action is N, the only legal one.

    model: the model whose actor this decision asked
    failed: the scheduler raised, so it did not make `choice`
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
    return DecisionRecord(
        episode=facts.episode,
        episode_uid=facts.episode_uid,
        slot=snapshot.slot,
        node=facts.node,
        observation=profile.encode(states).astype("<f4").tobytes(),
        mask=pack_masks(mask).tobytes(),
        action=action,
        model=model,
        failed=failed,
        log_probability=log_probability,
        scores=None if choice is None else choice.scores[0].astype("<f4").tobytes(),
        revision=revision,
        skew_s=max(0.0, snapshot.at_s - snapshot.slot * facts.slot_s),
        decision_s=decision_s,
        probes=probes,
        execution_queue_length=int(states.execution_queue_length[0]),
        sending_queue_length=int(states.sending_queue_length.sum()),
        receiving_queue_length=int(states.receiving_queue_length.sum()),
        execution_backlog_s=float(states.execution_backlog_s[0]),
    )


def outcome_record(facts: EpisodeFacts, ended: Ended) -> OutcomeRecord:
    """The record of a task that has ended at this node."""
    return OutcomeRecord(
        episode=facts.episode,
        episode_uid=facts.episode_uid,
        outcome=ended.outcome,
        completion_s=ended.completion_s,
        end_slot=ended.end_slot,
        late=ended.late,
        written_by=facts.node,
        **{name: getattr(ended.task, name) for name in _MEASURED},
    )
