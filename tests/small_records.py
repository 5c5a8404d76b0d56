"""Records in which nothing has happened, but for what a test says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from offload.outcomes import Outcome
from offload.records import DecisionRecord, OutcomeRecord

_DECISION = DecisionRecord(
    episode=1, episode_uid=f"{1:032x}", slot=0, node=0, observation=bytes(4), mask=b"\x01", action=0, model=None,
    log_probability=None, scores=None, revision=1, skew_s=0.0, decision_s=0.0, probes=0, execution_queue_length=0,
    sending_queue_length=0, receiving_queue_length=0, execution_backlog_s=0.0,
)  # fmt: skip
_OUTCOME = OutcomeRecord(
    episode=1, episode_uid=f"{1:032x}", slot=0, source=0, destination=0, outcome=Outcome.SUCCESS, skew_s=0.0,
    decision_s=0.0, transmission_waiting_s=0.0, transmission_s=0.0, handover_s=0.0, execution_waiting_s=0.0,
    execution_s=0.0, completion_s=0.0, end_slot=0, late=False, transfer=None, written_by=0,
)  # fmt: skip


def decision_record(**changes: Any) -> DecisionRecord:
    """A decision of node 0 in slot 0 of episode 1."""
    return replace(_DECISION, **changes)


def outcome_record(**changes: Any) -> OutcomeRecord:
    """A success of the task of slot 0 at node 0, episode 1."""
    return replace(_OUTCOME, **changes)
