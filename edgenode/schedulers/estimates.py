"""Estimates from a node's local state and another node's report: a task's delay and its success probability."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from offload.draws import Draws
from offload.state import FloatArray, IntArray, LocalState, Reports


def estimated_delay_s(states: LocalState, reports: Reports, more_work_s: FloatArray | float = 0.0) -> FloatArray:
    """(B, d) seconds until the task would be done at each reporting node; infinite without a report.

    max(own sending backlog to j + s/r_ij, backlog of j + announced work of j + more work) + c/F_j. The node itself
    needs no transmission.

    more_work_s: (B, d) execution seconds that j is expected to have before the task arrives, besides its backlog
    """
    node = np.maximum(reports.node, 0)
    sending = np.take_along_axis(states.sending_backlog_s, node, axis=1)
    rate = np.take_along_axis(states.rate_bps, node, axis=1)
    arrives = sending + states.size_bits[:, None] / rate
    backlog = reports.execution_backlog_s + reports.receiving_work_s + more_work_s
    capacity = np.where(reports.answered, reports.capacity_hz, 1.0)
    delay = np.maximum(arrives, backlog) + states.cycles[:, None] / capacity
    return np.where(reports.answered, delay, np.inf)


def success_probability(states: LocalState, reports: Reports) -> FloatArray:
    """(B, d) probability of no failure in transmission and execution (eq. 4 and 5); 0 without a report."""
    node = np.maximum(reports.node, 0)
    rate = np.take_along_axis(states.rate_bps, node, axis=1)
    link_failure = np.take_along_axis(states.link_failure_rate, node, axis=1)
    capacity = np.where(reports.answered, reports.capacity_hz, 1.0)
    execution = reports.failure_rate * states.cycles[:, None] / capacity
    transmission = link_failure * states.size_bits[:, None] / rate
    return np.where(reports.answered, np.exp(-execution - transmission), 0.0)


def scattered(reports: Reports, values: FloatArray, nodes: int) -> FloatArray:
    """(B, N) values of the reporting nodes at their index, NaN elsewhere. Schedulers return them as scores."""
    scores = np.full((len(values), nodes), np.nan)
    rows, columns = np.nonzero(reports.answered)
    scores[rows, reports.node[rows, columns]] = values[rows, columns]
    return scores


def joined(first: Reports, second: Reports) -> Reports:
    """The columns of both reports."""
    columns = {
        field.name: np.concatenate([getattr(first, field.name), getattr(second, field.name)], axis=1)
        for field in fields(Reports)
    }
    return Reports(**columns)


def distinct_others(states: LocalState, draws: Draws, count: int) -> IntArray:
    """(B, d) distinct nodes other than the deciding one, uniform. d is `count`, at most N−1."""
    return _distinct(states, draws, min(count, states.nodes - 1), states.nodes - 1, others_only=True)


def distinct_nodes(states: LocalState, draws: Draws, count: int) -> IntArray:
    """(B, d) distinct nodes, uniform, which may include the deciding one. d is `count`, at most N."""
    return _distinct(states, draws, min(count, states.nodes), states.nodes, others_only=False)


def _distinct(states: LocalState, draws: Draws, count: int, population: int, others_only: bool) -> IntArray:
    """Draw ranks without replacement: the k-th is uniform over those that remain, then shifted past earlier ones."""
    chosen = np.zeros((states.batch, count), dtype=np.int64)
    drawn = draws.uniforms(count)
    for k in range(count):
        rank = np.floor(drawn[:, k] * (population - k)).astype(np.int64)
        for taken in np.sort(chosen[:, :k], axis=1).T:
            rank += rank >= taken
        chosen[:, k] = rank
    if others_only:
        chosen += chosen >= states.node[:, None]
    return chosen


def others_by_capacity(states: LocalState, draws: Draws, count: int) -> IntArray:
    """(B, d) distinct nodes other than the deciding one, drawn one after the other in proportion to their capacity.

    d is `count`, at most N−1. Uses the draws 0 … d−1.
    """
    return others_by_weight(states, draws, states.peer_capacity_hz, count)


def others_by_weight(states: LocalState, draws: Draws, weights: FloatArray, count: int) -> IntArray:
    """(B, d) distinct nodes other than the deciding one, drawn one after the other in proportion to their weight.

    weights: (B, N) at least 0; d is `count`, at most N−1. Uses the draws 0 … d−1.
    """
    rows = np.arange(states.batch)
    weights = weights.copy()
    weights[rows, states.node] = 0.0
    chosen = np.zeros((states.batch, min(count, states.nodes - 1)), dtype=np.int64)
    drawn = draws.uniforms(chosen.shape[1])
    for k in range(chosen.shape[1]):
        until = np.cumsum(weights, axis=1)
        # The first node whose share of the sum lies above the draw. A weight of 0 gives no share.
        chosen[:, k] = np.argmax(until > drawn[:, k : k + 1] * until[:, -1:], axis=1)
        weights[rows, chosen[:, k]] = 0.0
    return chosen
