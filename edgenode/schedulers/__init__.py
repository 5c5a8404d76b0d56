"""What decides where tasks go. Imports `offload` only, so that the same objects run in a node and in a simulator.

A scheduler is a frozen dataclass: `context` first, then its parameters with defaults. It is found through the entry-point
group `offload.schedulers`, ours and other people's alike; `docs/schedulers.md` shows how to write one.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offload.explanations import did_you_mean, shown, unknown_name
from offload.protocols import Scheduler, SchedulerContext
from offload.settings import SettingsError

GROUP = "offload.schedulers"
_TYPE_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Description:
    """A scheduler as `offload schedulers` shows it. `summary` says what is wrong with one that cannot be loaded."""

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
        try:
            made = _load(name)
        except ValueError as problem:  # somebody's broken package must not hide the other schedulers
            found.append(Description(name, str(problem), {}))
            continue
        summary = (made.__doc__ or "").strip().split("\n")[0]
        found.append(Description(name, summary, {field.name: _default(field) for field in _parameters(made)}))
    return found


def create_scheduler(name: str, parameters: Mapping[str, Any], context: SchedulerContext) -> Scheduler:
    """The scheduler of a name with its parameters.

    Raises SettingsError for an unknown name (listing what there is), one that cannot be loaded, an unknown parameter, or an
    impossible value, and whatever the scheduler itself refuses.
    """
    made = _load(name)
    known = {field.name for field in _parameters(made)}
    hints = _hints(name, made) if parameters else {}
    given, problems = {}, []
    for key, value in parameters.items():
        if key not in known:
            close = did_you_mean(key, known)
            there = f"{f'{close} It' if close else '; it'} has: {', '.join(sorted(known)) or 'none'}"
            problems.append(f"scheduler.parameters.{key}: '{name}' has no such parameter{there}")
            continue
        given[key] = _whole(value) if _wants_whole(hints[key]) else value
        if not _fits(given[key], hints[key]):
            problems.append(f"scheduler.parameters.{key}: {shown(value)} is not {_in_words(hints[key])}")
    if problems:
        raise SettingsError("\n".join(problems))
    scheduler: Scheduler = made(context, **given)
    return scheduler


def _load(name: str) -> Any:
    entries = {entry.value: entry for entry in importlib.metadata.entry_points(group=GROUP) if entry.name == name}
    if not entries:
        raise SettingsError(f"scheduler.name: {unknown_name('scheduler', name, scheduler_names())}")
    if len(entries) > 1:
        raise SettingsError(
            f"scheduler.name: several packages bring a scheduler '{name}': {', '.join(sorted(entries))}"
        )
    value, entry = entries.popitem()
    try:
        made = entry.load()
    except Exception as error:  # importing runs other people's code, which may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"scheduler.name: '{name}' ({value}) cannot be loaded: {reason}") from error
    if not dataclasses.is_dataclass(made):
        raise SettingsError(f"scheduler.name: '{name}' ({value}) is not a dataclass; see docs/schedulers.md")
    fields = [field for field in dataclasses.fields(made) if field.init]
    if not fields or fields[0].name != "context":
        raise SettingsError(f"scheduler.name: '{name}' ({value}) has no field 'context' in the first place")
    for field in fields[1:]:
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(f"scheduler.name: '{name}' ({value}): its parameter '{field.name}' has no default")
    return made


def _parameters(made: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(made) if field.name != "context" and field.init]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _hints(name: str, made: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(made)
    except NameError as error:
        raise SettingsError(
            f"scheduler.name: the types of the parameters of '{name}' cannot be read ({error}); "
            "its module must import them outside of TYPE_CHECKING"
        ) from None


def _fits(value: object, wanted: Any) -> bool:
    """Whether a configured value is of a parameter's type. Types that configuration cannot express fit nothing."""
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(wanted))
    if origin is typing.Literal:
        return value in typing.get_args(wanted)
    if wanted is Any:
        return True
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(wanted, type) and isinstance(value, wanted)


def _wants_whole(wanted: Any) -> bool:
    members = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    return int in members and float not in members


def _whole(value: object) -> object:
    """A number without a fraction as a whole one: `1e3` is read as 1000.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_words(wanted: Any) -> str:
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return " or ".join(_in_words(one) for one in typing.get_args(wanted))
    if typing.get_origin(wanted) is typing.Literal:
        return "one of " + ", ".join(repr(one) for one in typing.get_args(wanted))
    return "nothing" if wanted is type(None) else str(_TYPE_IN_WORDS.get(wanted, getattr(wanted, "__name__", wanted)))
