"""Plain data as a file of JSON holds it, read strictly: no unknown key, no number that is none, every complaint with its place.

`where` is a place in the file, such as `tasks[2]`; "" is the file itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from offload.explanations import did_you_mean, shown
from offload.limits import MOST_PER_S


def mapping(data: Any, where: str, needed: Sequence[str], optional: Collection[str] = ()) -> Mapping[str, Any]:
    """An object with these keys and no others. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(
            f"{_place(where)}{shown(data)} is not an object; write {{{', '.join(f'{key!r}: …' for key in needed)}}}"
        )
    for key in data:
        if key not in needed and key not in optional:
            known = [*needed, *optional]
            close = did_you_mean(key, known)
            raise ValueError(
                f"{at(where, key)}: there is no such key{f'{close} Here' if close else '; here'} are {', '.join(known)}"
            )
    for key in needed:
        if key not in data:
            raise ValueError(f"{at(where, key)}: is missing")
    return data


def sequence(data: Any, where: str, of: str, length: int | None = None) -> Sequence[Any]:
    """A list (of `of`, for the message), of this length where one is given. Raises ValueError."""
    if not isinstance(data, list | tuple):
        raise ValueError(f"{where}: {shown(data)} is not a list of {of}")
    if length is not None and len(data) != length:
        raise ValueError(f"{where}: has {len(data)} entries; needed are {length} {of}")
    return data


def number(
    data: Any, where: str, least: float = 0.0, most: float = MOST_PER_S, above: bool = False, hint: str = ""
) -> float:
    """A finite number from `least` (above: or above it) to `most`. hint: what else to write. Raises ValueError."""
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise ValueError(f"{where}: {shown(data)} is not a number{hint}")
    if not (math.isfinite(data) if isinstance(data, float) else abs(data) < 10**300):
        raise ValueError(f"{where}: {_infinite(data)} is not a finite number{hint}")
    if data < least or (above and data == least):
        raise ValueError(f"{where}: {data:g} must be {'above' if above else 'at least'} {least:g}")
    if data > most:
        raise ValueError(f"{where}: {data:g} must be at most {most:g}{hint}")
    return float(data)


def whole(data: Any, where: str, least: int, most: int) -> int:
    """A whole number, as JSON may write it (3 or 3.0), within bounds. Raises ValueError: 3.7 is not slot 3."""
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data) or data != int(data):
        raise ValueError(f"{where}: {shown(data)} is not a whole number")
    if not least <= data <= most:
        raise ValueError(f"{where}: {int(data)} must be from {least} to {most}")
    return int(data)


def at(where: str, key: object) -> str:
    """The place of a key."""
    return f"{where}.{key}" if where else str(key)


def _place(where: str) -> str:
    return f"{where}: " if where else ""


def _infinite(data: float) -> str:
    """As JSON writers write it."""
    return "NaN" if data != data else "Infinity" if data > 0 else "-Infinity"
