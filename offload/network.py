"""Defines the edge network (N nodes, a link between every ordered pair), and draws one from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offload.given import mapping, number, sequence

if TYPE_CHECKING:
    from offload.settings import NetworkSettings

FloatArray = NDArray[np.float64]

_POSITIVE: dict[str, Any] = {"above": True}
_COLUMNS: dict[str, dict[str, Any]] = {
    "capacity_hz": _POSITIVE,
    "failure_rate": {},
    "arrival_probability": {"most": 1.0},
}
_MATRICES: dict[str, dict[str, Any]] = {"rates_bps": _POSITIVE, "link_failure_rates": {}}
"""The keys of `net.json`, and the bounds of their values."""


@dataclass(frozen=True, eq=False)
class Network:
    """A drawn network. Matrices are `[source, destination]`; their diagonals are ignored.

    capacity_hz: (N,) computation capacity F_i in cycles/s
    failure_rate: (N,) execution failure rate α_i in failures/s
    arrival_probability: (N,) λ_i per slot
    rate_bps: (N, N) transmission rate r_ij in bit/s
    link_failure_rate: (N, N) β_ij in failures/s

    Raises ValueError when a shape or a value is impossible; the message names the place and the value.
    """

    capacity_hz: FloatArray
    failure_rate: FloatArray
    arrival_probability: FloatArray
    rate_bps: FloatArray
    link_failure_rate: FloatArray

    def __post_init__(self) -> None:
        n = len(self.capacity_hz)
        if n == 0:
            raise ValueError("a network needs at least one node, got none")
        off = ~np.eye(n, dtype=bool)
        for name, shape in (
            ("capacity_hz", (n,)),
            ("failure_rate", (n,)),
            ("arrival_probability", (n,)),
            ("rate_bps", (n, n)),
            ("link_failure_rate", (n, n)),
        ):
            value = getattr(self, name)
            if value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}; a network of {n} nodes needs {shape}")
            checked = value[off] if value.ndim == 2 else value
            if not np.isfinite(checked).all():
                raise ValueError(f"{name} contains a value that is not a finite number")
            if name in ("capacity_hz", "rate_bps") and (checked <= 0).any():
                raise ValueError(f"{name} must be above 0, got {checked.min()}")
            if (checked < 0).any():
                raise ValueError(f"{name} must not be negative, got {checked.min()}")
        if (self.arrival_probability > 1).any():
            raise ValueError(f"arrival_probability must be at most 1, got {self.arrival_probability.max()}")

    @property
    def nodes(self) -> int:
        """N, the number of nodes."""
        return len(self.capacity_hz)

    def to_json(self) -> dict[str, Any]:
        """The network as the plain data of `net.json`; the diagonals are 0."""
        off = 1.0 - np.eye(self.nodes)
        return {
            "nodes": [
                {"capacity_hz": float(f), "failure_rate": float(a), "arrival_probability": float(p)}
                for f, a, p in zip(self.capacity_hz, self.failure_rate, self.arrival_probability, strict=True)
            ],
            "rates_bps": np.where(off > 0, self.rate_bps, 0.0).tolist(),
            "link_failure_rates": np.where(off > 0, self.link_failure_rate, 0.0).tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """A network from the plain data of `net.json`.

        Raises ValueError that names the place of a missing or unknown key, or of an impossible value.
        """
        mapping(data, "", ("nodes", *_MATRICES))
        nodes = sequence(data["nodes"], "nodes", "objects")
        n = len(nodes)
        if n == 0:
            raise ValueError("nodes: a network needs at least one node, got none")
        columns = np.zeros((len(_COLUMNS), n))
        for i, node in enumerate(nodes):
            mapping(node, f"nodes[{i}]", tuple(_COLUMNS))
            columns[:, i] = [number(node[key], f"nodes[{i}].{key}", **_COLUMNS[key]) for key in _COLUMNS]
        matrices = [np.zeros((n, n)) for _ in _MATRICES]
        for matrix, (key, bounds) in zip(matrices, _MATRICES.items(), strict=True):
            for i, row in enumerate(sequence(data[key], key, "rows, one for each node", n)):
                for j, value in enumerate(sequence(row, f"{key}[{i}]", "numbers, one for each node", n)):
                    matrix[i, j] = 0.0 if i == j else number(value, f"{key}[{i}][{j}]", **bounds)
        return cls(*columns, *matrices)


def draw_network(settings: NetworkSettings, seed: int, index: int = 0) -> Network:
    """The `index`-th heterogeneous network of a seed. It depends only on these settings, the seed and the index."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    n = settings.nodes
    cores = generator.choice(np.array(settings.cores, dtype=float), size=n)
    arrival = generator.uniform(*settings.arrival_probability, size=n)
    failure = generator.uniform(*settings.failure_rate, size=n)
    rate = generator.uniform(*settings.rate_bps, size=(n, n))
    link_failure = generator.uniform(*settings.link_failure_rate, size=(n, n))
    return Network(cores * settings.core_frequency_hz, failure, arrival, rate, link_failure)
