"""Encodes a local state as the observation o_t^i of an actor: a vector, scaled to [0, 1] and clipped.

A profile has a name, a version, and the maxima that scale its elements. They are recorded in every model's manifest,
because an actor cannot be used with other maxima. `paper` has exactly the elements of section IV-B1 and the one-hot
index of section IV-C2. `default` adds backlogs in seconds and the overload bits.

To add a profile, write a function from states and maxima to columns, and enter it in `_ENCODERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offload.explanations import unknown_name
from offload.settings import Settings, SettingsError
from offload.state import LocalState

Columns = list[tuple[str, NDArray[Any], float]]
"""Name, values (B,) or (B, N), and the maximum by which they are divided."""


def _paper(states: LocalState, maxima: Mapping[str, float]) -> Columns:
    own = states.node[:, None] == np.arange(states.nodes)
    return [
        ("arrival_probability", states.arrival_probability, maxima["arrival_probability"]),
        ("failure_rate", states.failure_rate, maxima["failure_rate"]),
        ("capacity", states.capacity_hz, maxima["capacity_hz"]),
        ("execution_queue_length", states.execution_queue_length, maxima["queue_length"]),
        ("receiving_queue_length", states.receiving_queue_length, maxima["queue_length"]),
        ("rate", np.where(own, 0.0, states.rate_bps), maxima["rate_bps"]),
        ("size", states.size_bits, maxima["size_bits"]),
        ("cycles", states.cycles, maxima["cycles"]),
        ("deadline", states.deadline_s, maxima["deadline_s"]),
        ("index", own, 1.0),
    ]


def _default(states: LocalState, maxima: Mapping[str, float]) -> Columns:
    return [
        *_paper(states, maxima),
        ("execution_backlog", states.execution_backlog_s, maxima["deadline_s"]),
        ("sending_backlog", states.sending_backlog_s, maxima["deadline_s"]),
        ("receiving_work", states.receiving_work_s, maxima["deadline_s"]),
        ("overloaded", states.overloaded, 1.0),
    ]


_ENCODERS: dict[str, tuple[int, Callable[[LocalState, Mapping[str, float]], Columns]]] = {
    "paper": (1, _paper),
    "default": (1, _default),
}

PROFILES = tuple(_ENCODERS)


@dataclass(frozen=True)
class Profile:
    """A named, versioned encoding for networks of `nodes` nodes. maxima: the SI values that are encoded as 1."""

    name: str
    version: int
    nodes: int
    maxima: Mapping[str, float]

    def encode(self, states: LocalState) -> NDArray[np.float32]:
        """(B, O) observations, each element in [0, 1]."""
        columns = _ENCODERS[self.name][1](states, self.maxima)
        parts = [values if values.ndim == 2 else values[:, None] for _, values, _ in columns]
        encoded: NDArray[np.float32] = np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
        encoded *= self.scales
        return encoded.clip(0.0, 1.0, out=encoded)

    @cached_property
    def scales(self) -> NDArray[np.float32]:
        """(O,) the factors of the elements, applied before clipping."""
        columns = _ENCODERS[self.name][1](_one_empty_state(self.nodes), self.maxima)
        return np.concatenate([np.full(values[0].size, 1.0 / maximum, np.float32) for _, values, maximum in columns])

    def values(self, observations: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """The values that observations (…, O) encode, by column: (…) or (…, N) each, in SI units.

        The inverse of `encode`, but a value above its maximum was clipped to it.
        """
        columns = _ENCODERS[self.name][1](_one_empty_state(self.nodes), self.maxima)
        found, start = {}, 0
        for name, values, maximum in columns:
            part = observations[..., start : start + values.size].astype(np.float64) * maximum
            found[name] = part[..., 0] if values.ndim == 1 else part
            start += values.size
        return found

    def elements(self) -> list[str]:
        """The names of the O elements, in order: `rate[3]` is the rate to node 3."""
        empty = _one_empty_state(self.nodes)
        names = []
        for name, values, _ in _ENCODERS[self.name][1](empty, self.maxima):
            names += [name] if values.ndim == 1 else [f"{name}[{j}]" for j in range(self.nodes)]
        return names

    @property
    def size(self) -> int:
        """O, the length of an observation."""
        return len(self.elements())

    @property
    def outputs(self) -> int:
        """N+1, the number of an actor's outputs: a logit for each action."""
        return self.nodes + 1

    def to_json(self) -> dict[str, Any]:
        """The profile as plain data for a manifest."""
        return {"name": self.name, "version": self.version, "nodes": self.nodes, "maxima": dict(self.maxima)}

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """The differences to another profile's JSON, one line each; empty if an actor of that profile can be used."""
        own, lines = self.to_json(), []
        for key in ("name", "version", "nodes"):
            if own[key] != other.get(key):
                lines.append(f"{key}: the model's is {other.get(key)!r}, this network's is {own[key]!r}")
        theirs = other.get("maxima") or {}
        for key in sorted({*own["maxima"], *theirs}):
            if own["maxima"].get(key) != theirs.get(key):
                lines.append(
                    f"maximum of {key}: the model's is {theirs.get(key)}, this network's is {own['maxima'].get(key)}"
                )
        return lines


def _one_empty_state(n: int) -> LocalState:
    one, row = np.zeros(1), np.zeros((1, n))
    integers, flags = np.zeros(1, dtype=np.int64), np.zeros((1, n), dtype=bool)
    lengths = np.zeros((1, n), dtype=np.int64)
    return LocalState(
        integers, integers, flags[:, 0], one, one, one, one, one, one, row, row, row, row,
        integers, one, lengths, row, lengths, one, flags,
    )  # fmt: skip


def make_profile(settings: Settings) -> Profile:
    """The profile that the settings name, with maxima from the settings' ranges.

    Raises SettingsError for an unknown name.
    """
    name, network, tasks = settings.node.profile, settings.network, settings.tasks
    if name not in _ENCODERS:
        raise SettingsError(f"node.profile: {unknown_name('profile', name, PROFILES)}")
    maxima = {
        "arrival_probability": 1.0,
        "failure_rate": network.failure_rate[1] or 1.0,
        "capacity_hz": max(network.cores) * network.core_frequency_hz,
        "queue_length": 10.0,
        "rate_bps": network.rate_bps[1],
        "size_bits": tasks.size_bits[1],
        "cycles": tasks.size_bits[1] * tasks.complexity_cycles_per_bit[1],
        "deadline_s": tasks.deadline_s,
    }
    return Profile(name, _ENCODERS[name][0], network.nodes, maxima)
