"""Validators of settings, for conditions that pydantic's own bounds cannot express."""

from __future__ import annotations

import re
from functools import partial

from pydantic import AfterValidator

from offload.addresses import checked_url

DEVICE = r"^(auto|cpu|mps|cuda(:[0-9]+)?)$"
"""A regular expression for the device of the learner."""
_MODEL = re.compile(r"(?:(?!\.{1,2}/)[^/]+/)*[A-Za-z0-9][A-Za-z0-9._-]*")


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """A range [low, high] with 0 <= low <= high. Raises ValueError, as all validators here."""
    low, high = pair
    if not 0 <= low <= high:
        raise ValueError(f"[{low:g}, {high:g}] is not a range; write [low, high] with 0 <= low <= high")
    return pair


def positive(pair: tuple[float, float]) -> tuple[float, float]:
    """A range above 0."""
    if ordered(pair)[0] <= 0:
        raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] must lie above 0")
    return pair


def probabilities(pair: tuple[float, float]) -> tuple[float, float]:
    """A range of probabilities."""
    if ordered(pair)[1] > 1:
        raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] are not probabilities; they lie between 0 and 1")
    return pair


def at_most(most: float) -> AfterValidator:
    """A validator of a range: neither end may be above `most`."""

    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if pair[1] > most:
            raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] must lie below or at {most:g}")
        return pair

    return AfterValidator(check)


def device_name(name: str) -> str:
    """The name of a torch device, or auto."""
    if not re.match(DEVICE, name):
        raise ValueError(f"{name!r} is not a device; write auto, cpu, mps, cuda, or cuda:0 for a certain one")
    return name


def model_name(name: str) -> str:
    """The version of a model, or RUN/VERSION."""
    if not (_MODEL.fullmatch(name) and name.isprintable()):
        raise ValueError(f"{name!r} is not a model; write VERSION or RUN/VERSION, for example offline or demo/offline")
    return name


def url_of(service: str) -> AfterValidator:
    """A validator of the URL of a service (`database`, `storage`, …)."""
    return AfterValidator(partial(checked_url, service))
