"""Parses quantities with units into SI numbers.

All code and all stored data use seconds, bits, bit/s, cycles, cycles/s and failures/s. A configuration file may have
`8 MB`, `40 MB/s`, `3 GHz` or `500 ms`. Prefixes are decimal: 1 KB = 1000 bytes = 8000 bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")


def _prefixed(base: dict[str, float]) -> dict[str, float]:
    return {prefix + unit: scale * factor for unit, factor in base.items() for prefix, scale in _PREFIX.items()}


@dataclass(frozen=True, eq=False)
class Quantity:
    """A kind of quantity, such as a duration.

    plural: its name in the plural; units: the factor of each unit to SI
    low, high: two example values as texts with a unit, low < high
    """

    name: str
    plural: str
    units: dict[str, float]
    low: str
    high: str


QUANTITIES = {
    one.name: one
    for one in (
        Quantity(
            "a duration",
            "durations",
            {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0},
            "100 ms",
            "500 ms",
        ),
        Quantity("an amount of data", "amounts of data", _prefixed({"B": 8.0, "bit": 1.0}), "500 KB", "8 MB"),
        Quantity(
            "a transmission rate",
            "transmission rates",
            _prefixed({"B/s": 8.0, "bit/s": 1.0, "bps": 1.0}),
            "10 MB/s",
            "40 MB/s",
        ),
        Quantity("a frequency", "frequencies", _prefixed({"Hz": 1.0, "cycles/s": 1.0}), "2 GHz", "3 GHz"),
        Quantity("a failure rate", "failure rates", {"/s": 1.0, "/min": 1 / 60.0, "/h": 1 / 3600.0}, "0 /s", "0.1 /s"),
        Quantity(
            "a complexity", "complexities", {"cycles/bit": 1.0, "cycles/B": 1 / 8.0}, "400 cycles/bit", "800 cycles/bit"
        ),
    )
}


def parse_quantity(value: Any, quantity: str) -> float:
    """The SI value of a number or of a text with a unit.

    quantity: a key of QUANTITIES, such as "a duration"
    Raises ValueError that names the value, what it should be, and an example.
    """
    units, example = QUANTITIES[quantity].units, QUANTITIES[quantity].high
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


def _pattern(quantity: Quantity) -> str:
    """A regular expression for texts with a number and a unit: Helm checks settings with a JSON schema."""
    units = "|".join(re.escape(unit) for unit in quantity.units)
    return rf"^ *[0-9.]+([eE][+-]?[0-9]+)? *({units})?$"


def _read_as(name: str) -> tuple[BeforeValidator, WithJsonSchema, Quantity]:
    """The annotations of a setting of this quantity: for pydantic, for the JSON schema, and for messages."""
    quantity = QUANTITIES[name]
    schema = WithJsonSchema({"type": ["number", "string"], "pattern": _pattern(quantity)})
    return BeforeValidator(lambda value: parse_quantity(value, name)), schema, quantity


Seconds = Annotated[float, *_read_as("a duration")]
Bits = Annotated[float, *_read_as("an amount of data")]
BitsPerSecond = Annotated[float, *_read_as("a transmission rate")]
Hertz = Annotated[float, *_read_as("a frequency")]
FailuresPerSecond = Annotated[float, *_read_as("a failure rate")]
CyclesPerBit = Annotated[float, *_read_as("a complexity")]
