"""Turns pydantic's validation errors into messages for users: key, value, what would be right, and an example.

pydantic's own messages ("Input should be a valid tuple") do not say what to write. So only the place and the value are
taken from its errors. The expected value follows from the annotation of that place, its bounds and its unit.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from offload.units import Quantity

KeyPath = tuple[str | int, ...]
Origin = Callable[[KeyPath], str | None]
"""The place where the value of a path was written ("OFFLOAD_SEED", "my.yaml, line 3"); None if it is not known."""

_LONGEST_SHOWN = 80
_KINDS: dict[Any, tuple[str, str, str]] = {
    int: ("a whole number", "whole numbers", "3"),
    float: ("a number", "numbers", "0.5"),
    bool: ("true or false", "values true or false", "true"),
    str: ("a text", "texts", "name"),
}
"""Descriptions of one value and of several values of a type, and an example."""
_LENGTHS = ((MinLen, "min_length"), (MaxLen, "max_length"))


def explain(invalid: ValidationError, model: type[BaseModel], origin: Origin = lambda path: None) -> str:
    """A line per problem of a pydantic error on `model`: `key: value is not …; for example …`.

    Values below `services` are not shown: they may contain passwords.
    """
    problems = [(*_place(problem, model), problem) for problem in invalid.errors(include_url=False)]
    places = {place for place, _, _ in problems}
    lines: dict[str, None] = {}  # pydantic reports an error for each member of a union: one problem, one line
    for place, spec, problem in problems:
        if any(other != place and other[: len(place)] == place for other in places if place):
            continue  # pydantic also reports a list with a wrong entry as too short
        written = origin(place)
        lines[_line(problem, place, spec, model) + (f" ({written})" if written else "")] = None
    return "\n".join(lines)


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """`, did you mean sed?`: suggests the name closest to a mistyped one; empty if none is close."""
    lower = {name.lower(): name for name in names}
    given = str(word).lower()
    swapped = [name for name in lower if sorted(name) == sorted(given)]
    found = swapped or difflib.get_close_matches(given, lower, n=1, cutoff=0.6)
    return f", did you mean {lower[found[0]]}?" if found else ""


def unknown_name(kind: str, word: object, names: Sequence[str]) -> str:
    """A message for an unknown name: `unknown scheduler 'sedd', did you mean sed? Available: local, sed`."""
    close = did_you_mean(word, names)
    return f"unknown {kind} {shown(word)}{f'{close} Available' if close else '; available'}: {', '.join(names)}"


def shown(value: object) -> str:
    """A value as YAML has it: `null`, `true`, `'text'`, `[1, 2]`; a long one is cut."""
    text = _written(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def dotted(path: KeyPath) -> str:
    """A path as text: `tasks.size_bits[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(one)}" for key, one in value.items()) + "}"
    try:
        return repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__


def _line(problem: Any, place: KeyPath, spec: _Spec, model: type[BaseModel]) -> str:
    path, message, value = dotted(place), problem["msg"].removeprefix("Value error, "), problem["input"]
    if not place:
        if problem["type"] == "model_type":
            return (
                f"{shown(value)} is not a JSON object; expected an object with keys of: {', '.join(model.model_fields)}"
            )
        return str(message)
    secret = place[0] == "services"
    if problem["type"] == "extra_forbidden":
        return f"{path}: is not a setting{_near(place, model)}"
    if problem["type"] == "value_error":
        message = message if secret else message.replace(repr(value), shown(value))
        seen = secret or shown(value) in message
        return f"{path}: {message}" if seen else f"{path}: {message} (got {shown(value)})"
    right = f"{spec.one()}; for example {spec.example()}"
    if problem["type"] == "missing" and isinstance(value, dict):
        return f"{path}: is missing; it is {right}"
    if secret:
        return f"{path}: this is not {right}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path}: {shown(value)} is not finite; expected {right}"
    return f"{path}: {shown(value)} is not {right}{spec.in_quotes(value)}"


def _place(problem: Any, model: type[BaseModel]) -> tuple[KeyPath, _Spec]:
    """The place of a problem, and what is expected there."""
    place: list[str | int] = []
    spec = _Spec(model, (), None)
    location = problem["loc"]
    if problem["type"] == "missing" and location and isinstance(location[-1], int):
        location = location[:-1]  # report the incomplete pair, not the entry that it lacks
    for part in location:
        below = spec.below(part)
        if below is None and spec.ends_here():
            break  # the rest of pydantic's location names the members of a union
        place.append(part)
        spec = below or _Spec(None, (), None)
    return tuple(place), spec


@dataclass(frozen=True)
class _Spec:
    """What is expected at a place: its type, the metadata of its annotation, and its default."""

    kind: Any
    metadata: tuple[Any, ...]
    default: Any

    @classmethod
    def of(cls, annotation: Any, metadata: Iterable[Any] = (), default: Any = None) -> Self:
        """The specification of an annotation: the type, and the metadata of all `Annotated` around it."""
        found: list[Any] = []
        for one in metadata:
            found += one.metadata if isinstance(one, FieldInfo) else [one]
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *inner = typing.get_args(annotation)
            return cls.of(annotation, [*inner, *found], default)
        return cls(annotation, tuple(found), default)

    def below(self, part: str | int) -> _Spec | None:
        """What is expected below a key or an index; None if nothing is expected there."""
        arguments = typing.get_args(self.kind)
        if self._is_section():
            field = self.kind.model_fields.get(str(part))
            return None if field is None else _Spec.of(field.annotation, field.metadata, field.default)
        if typing.get_origin(self.kind) is dict:
            return _Spec.of(arguments[1])
        if typing.get_origin(self.kind) is tuple and isinstance(part, int):
            return _Spec.of(arguments[0], [one for one in self.metadata if isinstance(one, Quantity)])
        return None

    def ends_here(self) -> bool:
        """Whether the type is known and is not a section, so that no settings are below it."""
        return self.kind is not None and not self._is_section()

    def one(self) -> str:
        """Describes one expected value: `a whole number from 1 to 1000`."""
        if self._is_section():
            return f"a section; write keys below it ({', '.join(self.kind.model_fields)})"
        members = self._members()
        if members:
            return ", or ".join(dict.fromkeys(member.one() for member in members))
        arguments, origin = typing.get_args(self.kind), typing.get_origin(self.kind)
        if self.kind is type(None):
            return "null"
        if origin is typing.Literal:
            return " or ".join(repr(one) for one in arguments)
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return " or ".join(repr(one.value) for one in self.kind)
        if origin is dict:
            return "a mapping of names to values"
        if origin is tuple and arguments[-1] is Ellipsis:
            fewest = next((one.min_length for one in self.metadata if isinstance(one, MinLen)), 0)
            return f"a list of {'one or more ' if fewest else ''}{_Spec.of(arguments[0]).several()}"
        if origin is tuple:
            return f"a range [low, high] of {_Spec.of(arguments[0]).several()}"
        return self._noun(0) + self._bounds()

    def several(self) -> str:
        """Describes several expected values: `whole numbers of at least 1`."""
        return self._noun(1) + self._bounds()

    def example(self) -> str:
        """A value that would be right."""
        arguments = typing.get_args(self.kind)
        if self._is_section():
            name, field = next(iter(self.kind.model_fields.items()))
            return f"{{{name}: {_Spec.of(field.annotation, field.metadata, field.default).example()}}}"
        if self._members():
            return self._members()[0].example() if self.default is None else _plain(self.default)
        if typing.get_origin(self.kind) is tuple and arguments[-1] is not Ellipsis:
            quantity = _Spec.of(arguments[0])._quantity()
            if quantity is not None:
                return f"[{quantity.low}, {quantity.high}]"
        if self._quantity() is not None:
            return typing.cast(Quantity, self._quantity()).high
        if isinstance(self.default, str | int | float | tuple):
            return _plain(self.default)
        if typing.get_origin(self.kind) is typing.Literal:
            return _plain(arguments[0])
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return next(iter(self.kind)).value
        if typing.get_origin(self.kind) is dict:
            return "{d: 3}"
        return _KINDS.get(self.kind, ("", "", "null"))[2]

    def in_quotes(self, value: Any) -> str:
        """What to do if a text is needed and YAML read a number, true or false; else empty."""
        texts = str in (self.kind, *(member.kind for member in self._members()))
        if not texts or isinstance(value, str) or not isinstance(value, bool | int | float):
            return ""
        return "; write it in quotes, and it is a text"

    def _is_section(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, BaseModel)

    def _members(self) -> list[_Spec]:
        """The members of a union, None last; empty for other types."""
        if typing.get_origin(self.kind) not in (typing.Union, types.UnionType):
            return []
        kinds = typing.get_args(self.kind)
        members = [_Spec.of(one, self.metadata) for one in kinds if one is not int or float not in kinds]
        return sorted(members, key=lambda member: member.kind is type(None))

    def _quantity(self) -> Quantity | None:
        return next((one for one in self.metadata if isinstance(one, Quantity)), None)

    def _noun(self, which: int) -> str:
        quantity = self._quantity()
        if quantity is not None:
            return (quantity.name, quantity.plural)[which]
        return _KINDS.get(self.kind, ("the expected value", "values", ""))[which]

    def _bounds(self) -> str:
        """The bounds as text: ` from 1 to 1000`, ` above 0`, ` of 1 to 64 characters`."""
        found: dict[Any, Any] = {}
        for one in self.metadata:
            for kind, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt"), *_LENGTHS):
                if isinstance(one, kind):
                    found[kind] = getattr(one, name)
        if self.kind is str:
            return _characters(found.get(MinLen, 0), found.get(MaxLen))
        if Ge in found and Le in found:
            return f" from {_plain(found[Ge])} to {_plain(found[Le])}"
        terms = ((Gt, "above"), (Ge, "of at least"), (Lt, "below"), (Le, "of at most"))
        parts = [f"{term} {_plain(found[kind])}" for kind, term in terms if kind in found]
        return f" {' and '.join(parts)}" if parts else ""


def _characters(fewest: int, most: int | None) -> str:
    """The bounds of a text's length; empty if there are none."""
    if most is not None:
        return f" of {fewest} to {most} characters" if fewest else f" of at most {most} characters"
    return {0: "", 1: " of at least one character"}.get(fewest, f" of at least {fewest} characters")


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_plain(one) for one in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else _written(value)


def _near(place: KeyPath, model: type[BaseModel]) -> str:
    """Suggests a key for an unknown one, and lists the keys of its section."""
    section = _Spec(model, (), None)
    for part in place[:-1]:
        below = section.below(part)
        if below is None or not below._is_section():
            return ""
        section = below
    here = list(section.kind.model_fields)
    close = did_you_mean(place[-1], here)
    if not close:
        elsewhere = [dotted((*path, place[-1])) for path in _sections(model) if (*path, place[-1]) != place]
        fitting = [path for path in elsewhere if _exists(path, model)]
        close = f", did you mean {fitting[0]}?" if fitting else ""
    return f"{f'{close} Keys' if close else '; keys'} of this section: {', '.join(here)}"


def _sections(model: type[BaseModel]) -> list[KeyPath]:
    names = [
        name for name in model.model_fields if (_Spec(model, (), None).below(name) or _Spec(0, (), 0))._is_section()
    ]
    return [(), *((name,) for name in names)]


def _exists(path: str, model: type[BaseModel]) -> bool:
    spec: _Spec | None = _Spec(model, (), None)
    for part in path.split("."):
        spec = None if spec is None else spec.below(part)
    return spec is not None
