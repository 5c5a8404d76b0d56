"""Plays groups of networks from which an actor of the profile `candidates` learns (`offload train scorer`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from edgenode.schedulers.reserving import SEDReserve
from offload import draw_network, draw_trace
from offload.candidates import Decisions
from offload.presets import PRESETS
from offload.protocols import SchedulerContext
from offload.settings import Settings, resolve_settings
from simulator.candidate_play import play_decisions
from simulator.twin import Twin

_CANDIDATES: Final = 3
"""The deciding node itself, and the two nodes that `sed-reserve` probes by default."""
_DECISIONS_OF_A_GROUP: Final = 8_000
_TRACE: Final = 5_000_000
"""Not the trace of any phase (`offload/episodes.py`), so that no evaluation plays what an actor was trained on."""


def general_settings() -> list[Settings]:
    """Settings of many kinds of networks: sizes, failure rates and loads around those of the paper."""
    loads: list[list[float]] = [[0, 1], [0, 1], [0, 0.6], [0.4, 1]]
    kinds: list[tuple[str, int, list[float]]] = [
        *(("paper-simulation", nodes, [0, 0.1]) for nodes in (5, 10, 20, 20, 50)),
        *(("paper-simulation", nodes, [0, 0.3]) for nodes in (10, 20)),
        *(("paper-testbed", nodes, [0, 0.4]) for nodes in (5, 10, 20)),
    ]
    layers: list[tuple[str, dict[str, Any]]] = [
        (preset, {"nodes": nodes, "failure_rate": rates, "arrival_probability": load})
        for preset, nodes, rates in kinds
        for load in loads
    ]
    return [resolve_settings([PRESETS[preset], {"network": network}]) for preset, network in layers]


def play_groups(kinds: Sequence[Settings], seed: int) -> Iterator[Decisions]:
    """Play groups of new networks, each with the settings of one of the kinds. Yields their decisions, without an end.

    The nodes use `sed-reserve`, with and without confirmation in turn.
    """
    index = 0
    for group in range(1_000_000):
        kind = kinds[_spread(group, len(kinds))].model_copy(update={"seed": seed})
        time, nodes = kind.time, kind.network.nodes
        low, high = kind.network.arrival_probability
        of_one = max(1.0, nodes * time.slots * (low + high) / 2)
        count = max(1, round(_DECISIONS_OF_A_GROUP / of_one))
        networks = [draw_network(kind.network, seed, index + k) for k in range(count)]
        traces = [draw_trace(kind.tasks, one, time.slot_s, time.slots, seed, _TRACE) for one in networks]
        index += count
        twin = Twin(networks, traces, kind, of=list(range(count)))
        scheduler = SEDReserve(SchedulerContext(nodes), confirm=group % 2 == 1)
        if any(trace.has_task.any() for trace in traces):
            yield play_decisions(twin, scheduler, _CANDIDATES)


def _spread(number: int, count: int) -> int:
    """0, 1, … mapped to 0 … count−1, so that a few consecutive numbers are far apart (a golden-ratio sequence)."""
    return int((number * 0.6180339887498949) % 1.0 * count)
