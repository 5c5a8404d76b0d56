"""Defines the methods that an experiment compares, and the work that gives their success rates.

Most methods are schedulers by their name, or one of the two references `central` and `ceiling`. The others are stages
of a training: before, during and after it, the same actor gives several methods. So a training is one piece of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Training:
    """A training in the twin, and the methods that its stages give.

    layer: settings that select the algorithms, and the heuristic whose logs they learn from
    offline: the method after the offline phase; None if the training has only an online phase
    online: the method after the online phase
    """

    layer: Mapping[str, Any]
    offline: str | None
    online: str

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it gives."""
        return (self.online,) if self.offline is None else (self.offline, self.online)


_PAPER: Final[dict[str, Any]] = {"offline": {"algorithm": "sac-cql"}, "online": {"algorithm": "ppo"}}
_SCORER: Final[dict[str, Any]] = {
    "offline": {"algorithm": "scorer", "heuristic": "sed"},
    "online": {"algorithm": "scorer-online"},
}

TRAININGS: Final[Mapping[str, Training]] = {
    "sac-cql and ppo": Training(_PAPER, "offline-only", "o2o-drl"),
    "ppo alone": Training(_PAPER, None, "online-only"),
    "scorer and scorer-online": Training(_SCORER, "scorer-offline", "scorer-o2o"),
    "scorer-online alone": Training(_SCORER, None, "scorer-online-only"),
}
"""The trainings by name. No training has the name of a scheduler or a reference.

Methods `scorer-…` are actors for the scheduler `scorer`, trained on the logs of `sed`.
"""

CEILING: Final = "ceiling"
REFERENCES: Final = ("central", CEILING)


def works_of(methods: Sequence[str]) -> tuple[str, ...]:
    """The works that give these methods: names of trainings, schedulers and references, each once."""
    found: dict[str, None] = {}
    for method in methods:
        found[training_of(method) or method] = None
    return tuple(found)


def training_of(method: str) -> str | None:
    """The name of the training that gives a method; None for schedulers and references."""
    return next((name for name, one in TRAININGS.items() if method in one.methods), None)
