"""Finds and makes schedulers, which decide where tasks go.

A scheduler is a frozen dataclass: `context` first, then its parameters with defaults. Schedulers are entry points of
the group `offload.schedulers`, ours and those of other packages alike. `docs/schedulers.md` shows how to write one.

This package imports `offload` only, so that the same objects run in a node and in the twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offload.entry_points import entry_names, find_entry, load_entry
from offload.parameters import checked_parameters, defaults_of, fault_of_form
from offload.protocols import Scheduler, SchedulerContext
from offload.settings import SettingsError

GROUP = "offload.schedulers"


@dataclass(frozen=True)
class Description:
    """A scheduler as `offload schedulers` shows it. If it cannot be loaded, `summary` says why."""

    name: str
    summary: str
    parameters: Mapping[str, Any]


def scheduler_names() -> list[str]:
    """The names that configuration can use."""
    return entry_names(GROUP)


def describe() -> list[Description]:
    """All schedulers, with the first line of their docstring and the defaults of their parameters."""
    found = []
    for name in scheduler_names():
        try:
            made = _load(name)
        except ValueError as problem:  # a broken third-party package must not hide the other schedulers
            found.append(Description(name, str(problem), {}))
            continue
        summary = (made.__doc__ or "").strip().split("\n")[0]
        found.append(Description(name, summary, defaults_of(made)))
    return found


def create_scheduler(name: str, parameters: Mapping[str, Any], context: SchedulerContext) -> Scheduler:
    """Make the scheduler with this name and these parameters.

    Raises SettingsError for an unknown name (listing the known ones), a scheduler that cannot be loaded, an unknown
    parameter or an impossible value. Also raises what the scheduler itself raises.
    """
    # Without parameters their types do not matter, which a third-party package may hide.
    made = _load(name, with_types=bool(parameters))
    given = checked_parameters(made, parameters, "scheduler.parameters", name, {}) if parameters else {}
    scheduler: Scheduler = made(context, **given)
    return scheduler


def _load(name: str, with_types: bool = False) -> Any:
    entry = find_entry(GROUP, "scheduler", name, "scheduler.name")
    made = load_entry(entry, "scheduler.name")
    fault = fault_of_form(made, with_types)
    if fault:
        raise SettingsError(f"scheduler.name: '{name}' ({entry.value}) {fault}; see docs/schedulers.md")
    return made
