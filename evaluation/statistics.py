"""Computes means with intervals, paired differences, and quantiles.

The functions are pure. They do not use SciPy: the extra `report` does not install it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` units with its two-sided interval; `interval` is None for a single unit."""

    mean: float
    interval: tuple[float, float] | None
    count: int

    def to_json(self) -> dict[str, Any]:
        """In the form of `results.json`."""
        return {"mean": self.mean, "interval": None if self.interval is None else list(self.interval)}


def student_t_critical(confidence: float, degrees: int) -> float:
    """The t for which a Student variable lies within ±t with probability `confidence`.

    For integer degrees of freedom the probability is a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4). The
    function inverts it by bisection over the angle atan(t / √degrees). Raises ValueError for impossible arguments.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def estimate_mean(values: Sequence[float], confidence: float) -> Estimate:
    """The mean of independent units with its Student t interval. Raises ValueError when there are no values."""
    if not len(values):
        raise ValueError("a mean needs at least one value, got none")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = student_t_critical(confidence, count - 1) * math.sqrt(variance / count)
    return Estimate(mean, (mean - half, mean + half), count)


def paired_difference(values: Mapping[int, float], to: Mapping[int, float], confidence: float) -> Estimate:
    """The mean of `values − to` over the units (traces) that both have, with its interval.

    Pairing removes the variance between units: a trace that is difficult for one method is difficult for the other too.
    Raises ValueError when they have no unit in common.
    """
    common = sorted(values.keys() & to.keys())
    if not common:
        raise ValueError("a paired difference needs units that both have; there is none")
    return estimate_mean([values[unit] - to[unit] for unit in common], confidence)


def quantiles(values: ArrayLike, shares: Mapping[str, float]) -> dict[str, float | None]:
    """Named quantiles (`{"p50": 0.5}`), linear between order statistics; all None when there are no values."""
    array = np.asarray(values, dtype=float)
    if not array.size:
        return dict.fromkeys(shares)
    found = np.quantile(array, list(shares.values()))
    return {name: float(value) for name, value in zip(shares, found, strict=True)}
