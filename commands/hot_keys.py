"""Whether hot keys name a scheduler that exists, with parameters that it takes: asked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offload.profiles import make_profile
from offload.protocols import SchedulerContext
from offload.settings import Settings, SettingsError


def check_hot(settings: Settings, hot: Mapping[str, Any]) -> None:
    """Make the scheduler as a node would, with a stand-in for the model. Raises SettingsError saying what is wrong."""
    fallback = settings.fallback_scheduler
    _make(settings, {"name": fallback, "model": None}, f"fallback_scheduler: '{fallback}' cannot decide by itself: ")
    _make(settings, hot["scheduler"], "")


def _make(settings: Settings, chosen: Mapping[str, Any], where: str) -> None:
    from edgenode.schedulers import create_scheduler

    n = settings.network.nodes
    try:
        context = SchedulerContext(
            nodes=n,
            profile=make_profile(settings),
            actor=_AnyActor(n) if chosen.get("model") else None,
            capacity_hz=np.ones(n),
        )
        create_scheduler(chosen["name"], chosen.get("parameters") or {}, context)
    except ValueError as wrong:
        raise SettingsError(f"{where}{wrong}") from None


class _AnyActor:
    def __init__(self, nodes: int) -> None:
        self._nodes = nodes

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """No preference."""
        return np.zeros((len(observations), self._nodes + 1), dtype=np.float32)
