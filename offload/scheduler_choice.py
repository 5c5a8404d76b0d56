"""Which scheduler decides in the nodes (`SchedulerChoice`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

from offload.explanations import shown
from offload.given import at, mapping

ParameterValue: TypeAlias = float | int | bool | str
"""A parameter of a scheduler or an algorithm, as settings give it."""

_KEYS: Final = ("name", "parameters", "model")
_WITH_SHIPPED_MODEL: Final = ("scorer",)
"""Schedulers that have a model without `model`: the testbed contains it."""


@dataclass(frozen=True)
class SchedulerChoice:
    """The scheduler that decides in every node, its parameters, and the model whose actor it asks.

    name: of an entry point of the group `offload.schedulers`
    parameters: the scheduler's own, by their names; the others have their defaults
    model: VERSION of one of the run's models, or RUN/VERSION of another run's; None for a scheduler without one

    Choices with equal parameters are equal (1 and 1.0 are), and can be keys of dictionaries.
    """

    name: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    model: str | None = None

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.parameters.items()), self.model))

    @property
    def is_learned(self) -> bool:
        """Whether a trained actor takes part in the decisions."""
        return self.model is not None or self.name in _WITH_SHIPPED_MODEL

    def to_json(self) -> dict[str, Any]:
        """Plain data: `{"name", "parameters", "model"}`, as live settings have it at `scheduler`."""
        return {"name": self.name, "parameters": dict(self.parameters), "model": self.model}

    @classmethod
    def from_json(cls, data: Any, where: str = "scheduler") -> Self:
        """A choice from plain data with all three keys. Raises ValueError naming the place of what is wrong in it."""
        given = mapping(data, where, _KEYS)
        parameters, model = given["parameters"], given["model"]
        if not isinstance(parameters, Mapping):
            raise ValueError(f"{at(where, 'parameters')}: {shown(parameters)} is not an object")
        for name, value in parameters.items():
            if not isinstance(value, ParameterValue):
                raise ValueError(
                    f"{at(where, f'parameters.{name}')}: {shown(value)} is not a number, true, false or a text"
                )
        _require_text(given["name"], at(where, "name"))
        if model is not None:
            _require_text(model, at(where, "model"))
        return cls(given["name"], dict(parameters), model)


def _require_text(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {shown(value)} is not a name")
