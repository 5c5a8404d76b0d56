"""Computes the observations and masks of all nodes of all episodes of a twin at once.

The numbers are the same, bit for bit, as those of `offload.profiles.Profile.encode` and `offload.masks.action_mask`
on the nodes' local states. The computation is thirty times as fast: it copies what never changes in an episode from a
template, and compiled code writes the rest. A profile with an element that is unknown here is encoded by
`Profile.encode` instead.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offload.masks import action_mask
from offload.profiles import Profile
from simulator.arrays import CYCLES, SIZE_BITS
from simulator.compiling import compiled
from simulator.twin import Twin

_FIXED = ("arrival_probability", "failure_rate", "capacity", "rate", "index")
_WRITTEN = (
    "execution_queue_length", "receiving_queue_length", "size", "cycles", "deadline", "execution_backlog",
    "sending_backlog", "receiving_work", "overloaded",
)  # fmt: skip
_LENGTH, _RECEIVING, _SIZE, _CYCLES, _DEADLINE, _BACKLOG, _SENDING, _WORK, _OVERLOADED = range(len(_WRITTEN))


class Observer:
    """What the nodes of `twin` observe with `profile`. Raises ValueError when their numbers of nodes differ."""

    def __init__(self, twin: Twin, profile: Profile) -> None:
        if profile.nodes != twin.nodes:
            raise ValueError(f"the profile is for {profile.nodes} nodes, the twin has {twin.nodes}")
        self._twin, self._profile = twin, profile
        elements = profile.elements()
        first = {name.partition("[")[0]: place for place, name in reversed(list(enumerate(elements)))}
        self._is_known = set(first) <= {*_FIXED, *_WRITTEN}
        self._places = np.array([first.get(name, -1) for name in _WRITTEN], np.int64)
        self._scales = profile.scales
        self.shape = twin.batch, twin.nodes, len(elements)
        """(B, N, O)."""
        self._everyone = [index.ravel() for index in np.indices((twin.batch, twin.nodes))]
        self._template = self._fixed_parts() if self._is_known else None

    def observe(
        self, observations: NDArray[np.float32] | None = None, masks: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Observations (B, N, O) and masks (B, N, N+1) at the tick of the twin's slot; fills the given arrays."""
        twin = self._twin
        observations = np.empty(self.shape, np.float32) if observations is None else observations
        masks = np.empty((*self.shape[:2], twin.nodes + 1), bool) if masks is None else masks
        if self._template is None:
            observations[:] = self._encoded()
            masks[:] = action_mask(twin.states(*self._everyone)).reshape(masks.shape)
            return observations, masks
        known, facts = twin.knowledge, twin.slot_facts()
        _write(
            self._template, twin.network_of, self._places, self._scales, twin.overload_threshold_s, twin.has_task,
            facts.tasks, facts.deadline_s, known.execution_length, known.execution_backlog_s, known.receiving_work_s,
            known.sending_backlog_s, known.receiving_length, known.overloaded, observations, masks,
        )  # fmt: skip
        return observations, masks

    def _fixed_parts(self) -> NDArray[np.float32]:
        """(K, N, O) the elements that never change, per network. The other elements keep their present values."""
        of, first = np.unique(self._twin.network_of, return_index=True)
        template = np.zeros((int(of[-1]) + 1, *self.shape[1:]), np.float32)
        template[of] = self._encoded()[first]
        return template

    def _encoded(self) -> NDArray[np.float32]:
        return self._profile.encode(self._twin.states(*self._everyone)).reshape(self.shape)


@njit(inline="always")
def _scaled(value, scale):
    """min(value · scale, 1). No value is negative, so there is no lower bound to clip to."""
    product = np.float32(value) * scale
    return product if product < np.float32(1.0) else np.float32(1.0)


@njit(inline="always")
def _write_row(row, first, values, scale):
    for j in range(len(values)):
        row[first + j] = _scaled(values[j], scale)


@njit(inline="always")
def _write_one(row, place, value, scales):
    if place >= 0:
        row[place] = _scaled(value, scales[place])


@compiled
def _write(
    template, of, places, scales, threshold_s, has_task, tasks, deadline_s,
    length, backlog_s, work_s, sending_backlog_s, receiving_length, overloaded, observations, masks,
):  # fmt: skip
    batch, nodes = has_task.shape
    elements = template.shape[2]
    receiving, sending, bits = places[_RECEIVING], places[_SENDING], places[_OVERLOADED]
    for b in range(batch):
        fixed, heard = template[of[b]], overloaded[b]
        for i in range(nodes):
            row, mask, same = observations[b, i], masks[b, i], fixed[i]
            for e in range(elements):
                row[e] = same[e]
            given = has_task[b, i]
            _write_one(row, places[_LENGTH], length[b, i], scales)
            _write_one(row, places[_SIZE], tasks[b, i, SIZE_BITS] if given else 0.0, scales)
            _write_one(row, places[_CYCLES], tasks[b, i, CYCLES] if given else 0.0, scales)
            _write_one(row, places[_DEADLINE], deadline_s[b, i] if given else 0.0, scales)
            _write_one(row, places[_BACKLOG], backlog_s[b, i], scales)
            _write_one(row, places[_WORK], work_s[b, i], scales)
            if receiving >= 0:
                _write_row(row, receiving, receiving_length[b, i], scales[receiving])
            if sending >= 0:
                _write_row(row, sending, sending_backlog_s[b, i], scales[sending])
            if bits >= 0:
                for j in range(nodes):
                    row[bits + j] = np.float32(heard[j])
                row[bits + i] = np.float32(backlog_s[b, i] > threshold_s)
            for j in range(nodes):
                mask[j] = given and not heard[j]
            mask[i] = given
            mask[nodes] = not given
