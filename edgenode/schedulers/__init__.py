"""What decides where tasks go. Imports `offload` only, so that the same objects run in a node and in a simulator.

A scheduler is a frozen dataclass: `context` first, then its parameters with defaults. It is found through the entry-point
group `offload.schedulers`, ours and other people's alike.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offload.protocols import Scheduler, SchedulerContext

GROUP = "offload.schedulers"


@dataclass(frozen=True)
class Description:
    """A scheduler as `offload schedulers` shows it."""

    name: str
    summary: str
    parameters: Mapping[str, Any]


def scheduler_names() -> list[str]:
    """The names that configuration can use."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


def describe() -> list[Description]:
    """All schedulers with the first line of their docstring, and their parameters' defaults."""
    found = []
    for name in scheduler_names():
        made = _load(name)
        summary = (made.__doc__ or "").strip().split("\n")[0]
        defaults = {field.name: field.default for field in _parameters(made)}
        found.append(Description(name, summary, defaults))
    return found


def create_scheduler(name: str, parameters: Mapping[str, Any], context: SchedulerContext) -> Scheduler:
    """The scheduler of a name with its parameters.

    Raises ValueError for an unknown name (listing what there is), an unknown parameter, or an impossible value.
    """
    made = _load(name)
    known = {field.name: field for field in _parameters(made)}
    hints = typing.get_type_hints(made)
    for key, value in parameters.items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise ValueError(f"scheduler.parameters.{key}: '{name}' has no such parameter; it has: {there}")
        wanted = hints.get(key, object)
        fits = isinstance(value, wanted) if isinstance(wanted, type) else True
        if wanted is float and isinstance(value, int):
            fits = True
        if not fits or (isinstance(value, bool) and wanted in (int, float)):
            raise ValueError(f"scheduler.parameters.{key}: {value!r} is not {getattr(wanted, '__name__', wanted)}")
    scheduler: Scheduler = made(context, **parameters)
    return scheduler


def _load(name: str) -> Any:
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name == name:
            made = entry.load()
            if not dataclasses.is_dataclass(made):
                raise ValueError(f"scheduler.name: '{name}' ({entry.value}) is not a dataclass; see docs/schedulers.md")
            return made
    raise ValueError(f"scheduler.name: there is no scheduler '{name}'; there are {', '.join(scheduler_names())}")


def _parameters(made: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(made) if field.name != "context" and field.init]
