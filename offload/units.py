"""Quantities with units: parsed once, at the edge, into SI numbers.

Inside the code and the storage everything is seconds, bits, bit/s, cycles, cycles/s and failures/s. A configuration
file may say `8 MB`, `40 MB/s`, `3 GHz` or `500 ms`. Prefixes are decimal: 1 KB = 1000 bytes = 8000 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")


def _prefixed(base: dict[str, float]) -> dict[str, float]:
    return {prefix + unit: scale * factor for unit, factor in base.items() for prefix, scale in _PREFIX.items()}


_UNITS: dict[str, tuple[dict[str, float], str]] = {
    "a duration": ({"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}, "500 ms"),
    "an amount of data": (_prefixed({"B": 8.0, "bit": 1.0}), "8 MB"),
    "a transmission rate": (_prefixed({"B/s": 8.0, "bit/s": 1.0, "bps": 1.0}), "40 MB/s"),
    "a frequency": (_prefixed({"Hz": 1.0, "cycles/s": 1.0}), "3 GHz"),
    "a failure rate": ({"/s": 1.0, "/min": 1 / 60.0, "/h": 1 / 3600.0}, "0.1 /s"),
    "a complexity": ({"cycles/bit": 1.0, "cycles/B": 1 / 8.0}, "800 cycles/bit"),
}


def parse_quantity(value: Any, quantity: str) -> float:
    """The SI value of a number, or of a text with a unit of `quantity` (a key such as "a duration").

    Raises ValueError that names the value, what it should be, and an example.
    """
    units, example = _UNITS[quantity]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not {quantity}; write a number in SI units or, for example, '{example}'")
    if isinstance(value, int | float):
        return float(value)
    match = _NUMBER.match(value)
    if match:
        number, unit = match.groups()
        if unit == "":
            return float(number)
        if unit in units:
            return float(number) * units[unit]
    raise ValueError(
        f"{value!r} is not {quantity}; write a number in SI units or, for example, '{example}' "
        f"(units: {', '.join(units)})"
    )


def _parser(quantity: str) -> Callable[[Any], float]:
    return lambda value: parse_quantity(value, quantity)


def _schema(quantity: str) -> WithJsonSchema:
    """For those who check settings without us, as Helm does: a number, or a text with one of the units."""
    units = "|".join(re.escape(unit) for unit in _UNITS[quantity][0])
    return WithJsonSchema({"type": ["number", "string"], "pattern": rf"^ *[0-9.]+([eE][+-]?[0-9]+)? *({units})?$"})


Seconds = Annotated[float, BeforeValidator(_parser("a duration")), _schema("a duration")]
Bits = Annotated[float, BeforeValidator(_parser("an amount of data")), _schema("an amount of data")]
BitsPerSecond = Annotated[float, BeforeValidator(_parser("a transmission rate")), _schema("a transmission rate")]
Hertz = Annotated[float, BeforeValidator(_parser("a frequency")), _schema("a frequency")]
FailuresPerSecond = Annotated[float, BeforeValidator(_parser("a failure rate")), _schema("a failure rate")]
CyclesPerBit = Annotated[float, BeforeValidator(_parser("a complexity")), _schema("a complexity")]
