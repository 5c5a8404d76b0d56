"""Checks the plain data of a JSON file: its keys, lists and numbers. Every error names the place in the file.

`where` is a place in the file, such as `tasks[2]`; "" is the file itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from offload.explanations import did_you_mean, shown
from offload.limits import MOST_PER_S


def mapping(data: Any, where: str, needed: Sequence[str], optional: Collection[str] = ()) -> Mapping[str, Any]:
    """The data, if it is an object with these keys and no others. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(
            f"{_place(where)}{shown(data)} is not an object; write {{{', '.join(f'{key!r}: …' for key in needed)}}}"
        )
    for key in data:
        if key not in needed and key not in optional:
            known = [*needed, *optional]
            close = did_you_mean(key, known)
            raise ValueError(
                f"{at(where, key)}: unknown key{f'{close} Known' if close else '; known'} keys: {', '.join(known)}"
            )
    for key in needed:
        if key not in data:
            raise ValueError(f"{at(where, key)}: is missing")
    return data


def sequence(data: Any, where: str, of: str, length: int | None = None) -> Sequence[Any]:
    """The data, if it is a list, of this length if one is given. of: names the entries. Raises ValueError."""
    if not isinstance(data, list | tuple):
        raise ValueError(f"{where}: {shown(data)} is not a list of {of}")
    if length is not None and len(data) != length:
        raise ValueError(f"{where}: has {len(data)} entries; expected {length} {of}")
    return data


def number(
    data: Any, where: str, least: float = 0.0, most: float = MOST_PER_S, above: bool = False, hint: str = ""
) -> float:
    """The data, if it is a finite number from `least` to `most`. Raises ValueError.

    above: `least` itself is not allowed; hint: what to write instead, appended to the message
    """
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
    """The data as an integer, if it is a whole number (3 or 3.0) within the bounds. Raises ValueError."""
    # Not `isfinite` of an integer: one of 400 digits has no float.
    is_whole = isinstance(data, int) or (isinstance(data, float) and math.isfinite(data) and data == int(data))
    if isinstance(data, bool) or not is_whole:
        raise ValueError(f"{where}: {shown(data)} is not a whole number")
    if not least <= data <= most:
        raise ValueError(f"{where}: {shown(data)} must be from {least} to {most}")
    return int(data)


def at(where: str, key: object) -> str:
    """The place of a key: `tasks[2].slot`."""
    return f"{where}.{key}" if where else str(key)


def _place(where: str) -> str:
    return f"{where}: " if where else ""


def _infinite(data: float) -> str:
    """A number that is not finite, in the notation of JSON writers."""
    return "NaN" if data != data else "Infinity" if data > 0 else "-Infinity"
