"""Checks the configured parameters of schedulers and algorithms.

Their classes are frozen dataclasses: the first field is `context`, the others are the parameters, with types and
defaults.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from offload.explanations import did_you_mean, shown
from offload.settings import SettingsError

_TYPE_DESCRIPTIONS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def fault_of_form(made: Any, with_types: bool = True) -> str | None:
    """Why a class does not have the form that this module's docstring describes; None if it has.

    with_types: also check that the types of the parameters can be read, which `checked_parameters` needs
    """
    if not (isinstance(made, type) and dataclasses.is_dataclass(made)):
        return "is not a dataclass"
    if not getattr(made, "__dataclass_params__").frozen:  # noqa: B009 - types do not know it
        return "is not a frozen dataclass"
    fields = [field for field in dataclasses.fields(made) if field.init]
    if not fields or fields[0].name != "context":
        return "has no field 'context' in the first place"
    for field in fields[1:]:
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            return f"has a parameter '{field.name}' without a default"
    try:
        if with_types:
            typing.get_type_hints(made)
    except NameError as error:
        return f"has types that cannot be read ({error}); its module must import them outside of TYPE_CHECKING"
    return None


def defaults_of(made: Any) -> dict[str, Any]:
    """The parameters of a class of this form, in order, with their defaults."""
    found = {}
    for field in dataclasses.fields(made):
        if field.init and field.name != "context":
            made_here = field.default_factory
            found[field.name] = field.default if made_here is dataclasses.MISSING else made_here()
    return found


def checked_parameters(
    made: Any, given: Mapping[str, Any], key: str, name: str, instead: Mapping[str, str]
) -> dict[str, Any]:
    """The configured values as the class takes them: `1e3` becomes an integer for a parameter of type int.

    key: the settings' key of the parameters, such as `offline.parameters`; name: the configured name of the class
    instead: for names that are not parameters: the key that a user may have meant
    Raises SettingsError with a line for every unknown parameter and every value of another type.
    """
    known, hints = defaults_of(made), typing.get_type_hints(made)
    values: dict[str, Any] = {}
    problems = []
    for parameter, value in given.items():
        if parameter not in known:
            problems.append(f"{key}.{parameter}: '{name}' has no such parameter{_instead(parameter, known, instead)}")
            continue
        values[parameter] = _whole(value) if _wants_whole(hints[parameter]) else value
        if not _fits(values[parameter], hints[parameter]):
            problems.append(f"{key}.{parameter}: {shown(value)} is not {_description(hints[parameter])}")
    if problems:
        raise SettingsError("\n".join(problems))
    return values


def _instead(parameter: str, known: Mapping[str, Any], instead: Mapping[str, str]) -> str:
    if parameter in instead:
        return f"; write {instead[parameter]}"
    close = did_you_mean(parameter, known)
    return f"{f'{close} Parameters' if close else '; parameters'}: {', '.join(sorted(known)) or 'none'}"


def _members(wanted: Any) -> tuple[Any, ...]:
    return typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)


def _fits(value: object, wanted: Any) -> bool:
    """Whether a configured value has a parameter's type. No value fits a type that configuration cannot express."""
    members = _members(wanted)
    if len(members) > 1:
        return any(_fits(value, one) for one in members)
    if typing.get_origin(wanted) is typing.Literal:
        return value in typing.get_args(wanted)
    if wanted is Any:
        return True
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(wanted, type) and isinstance(value, wanted)


def _wants_whole(wanted: Any) -> bool:
    return int in _members(wanted) and float not in _members(wanted)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _description(wanted: Any) -> str:
    members = _members(wanted)
    if len(members) > 1:
        return " or ".join(_description(one) for one in members)
    if typing.get_origin(wanted) is typing.Literal:
        return "one of " + ", ".join(repr(one) for one in typing.get_args(wanted))
    return (
        "nothing" if wanted is type(None) else str(_TYPE_DESCRIPTIONS.get(wanted, getattr(wanted, "__name__", wanted)))
    )
