"""Whether a record can be a row: what its columns can hold, the same for every database.

SQLite takes a text for a number and ten bytes for four, MySQL refuses the whole delivery for one value: so each record
is checked here, before any of them is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from middleware.database.schema import decisions, outcomes

Record = Mapping[str, Any]

TABLES: Final = {"decisions": decisions, "outcomes": outcomes}
EPISODE_UID: Final = "episode_uid"
"""The key of a record that says which episode it is of; not a column."""
_BITS: Final = ((sa.SmallInteger, 15), (sa.BigInteger, 63), (sa.Integer, 31))
_FLOATS: Final = {"observation": False, "scores": True}
"""Columns that hold little-endian float32, and whether NaN has a meaning there (a node not looked at)."""


_INFINITIES: Final = (np.array(np.inf, "<f4").tobytes(), np.array(-np.inf, "<f4").tobytes())


class UnfitRecord(ValueError):
    """A record that no database could take; the message says why."""


def check_record(record: Record, run_number: int) -> None:
    """Raise UnfitRecord unless the record is a row of its table: known columns, none missing, possible values."""
    name = record.get("table")
    if not isinstance(name, str) or name not in TABLES:
        raise UnfitRecord(f"a record of table {name!r}; there are {', '.join(TABLES)}")
    checks = _CHECKS[name]
    if not record.keys() <= _KEYS[name]:
        unknown = sorted(str(key) for key in record.keys() - _KEYS[name])
        raise UnfitRecord(f"a record of {name} has unknown columns: {', '.join(unknown)}")
    if not isinstance(record.get(EPISODE_UID, ""), str):
        raise UnfitRecord(f"a record of {name}: {EPISODE_UID} is {_shown(record[EPISODE_UID])}, not a text")
    if record.get("run", run_number) != run_number:
        raise UnfitRecord(f"a record of run {record['run']!r} in a delivery of run {run_number}")
    if _is_plainly_sound(record, *_PLAIN[name]):
        return
    for column, check in checks.items():
        wrong = None if column == "run" else check(record.get(column))
        if wrong is not None:
            missing = "" if column in record else " (missing)"
            raise UnfitRecord(f"a record of {name}: {column}{missing} {wrong}")


def _is_plainly_sound(
    record: Record,
    whole: Sequence[tuple[str, int, int]],
    numbers: Sequence[str],
    others: Sequence[tuple[str, Callable[[Any], str | None]]],
) -> bool:
    """Whether nothing is wrong, found out without a function call for each number: nearly all records are sound."""
    get, finite = record.get, math.isfinite
    for column, least, most in whole:
        value = get(column)
        if type(value) is not int or not least <= value <= most:
            return False
    for column in numbers:
        value = get(column)
        if type(value) is not float or not finite(value):
            return False
    for column, check in others:  # noqa: SIM110 - a generator costs as much as the checks
        if check(get(column)) is not None:
            return False
    return True


def _checked(column: sa.Column[Any]) -> Callable[[Any], str | None]:
    """What says what is wrong with a value of the column; None for one that it can hold."""
    check = _of_type(column)
    if column.name in _FLOATS:
        check = _floats(check, nan_allowed=_FLOATS[column.name])
    if not column.nullable:
        return check
    return lambda value: None if value is None else check(value)


def _of_type(column: sa.Column[Any]) -> Callable[[Any], str | None]:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return lambda value: None if isinstance(value, bool) else f"is {_shown(value)}, not true or false"
    if isinstance(kind, sa.Integer):
        return _whole(*_bounds(kind))
    if isinstance(kind, sa.Double):
        return _number
    if isinstance(kind, sa.String):
        return _text(kind.length or 0)
    assert isinstance(kind, sa.LargeBinary)
    return _bytes(kind.length or 0)


def _bounds(kind: sa.Integer) -> tuple[int, int]:
    """The least and the largest number that a column of the type holds."""
    bits = next(bits for integer, bits in _BITS if isinstance(kind, integer))
    return -(2**bits), 2**bits - 1


def _whole(least: int, most: int) -> Callable[[Any], str | None]:

    def check(value: Any) -> str | None:
        if type(value) is not int:
            return f"is {_shown(value)}, not a whole number"
        return None if least <= value <= most else f"is {_shown(value)}, beyond {most}"

    return check


def _number(value: Any) -> str | None:
    if type(value) not in (float, int):
        return f"is {_shown(value)}, not a number"
    try:
        return None if math.isfinite(value) else f"is {value}, not a finite number"
    except OverflowError:
        return f"is {_shown(value)}, beyond what a number can be"


def _text(length: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return f"is {_shown(value)}, not a text"
        if len(value) > length:
            return f"is {len(value)} characters long, at most {length} are possible"
        return None if value.isascii() or _is_unicode(value) else "is no Unicode text"

    return check


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _bytes(length: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"is {_shown(value)}, not bytes"
        return None if len(value) <= length else f"is {len(value)} bytes long, at most {length} are possible"

    return check


def _floats(bytes_: Callable[[Any], str | None], nan_allowed: bool) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        wrong = bytes_(value)
        if wrong is not None:
            return wrong
        if len(value) % 4:
            return f"is {len(value)} bytes long, which is not a multiple of the four of a float32"
        if nan_allowed and not any(infinity in value for infinity in _INFINITIES):
            return None
        values = np.frombuffer(value, "<f4")
        if math.isfinite(
            values @ values
        ):  # quicker than to look at each, and beyond what a float32 holds for one that is not
            return None
        if np.isfinite(values).all() or (nan_allowed and not np.isinf(values).any()):
            return None
        return f"holds {'an infinity' if nan_allowed else 'numbers that are not finite'}"

    return check


def _shown(value: Any) -> str:
    """A few characters of it: a value may be of any length."""
    try:
        text = repr(value)
    except ValueError:  # a number of too many digits
        text = type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}…"


def _plain(table: sa.Table) -> tuple[list[Any], list[str], list[Any]]:
    """The columns for `_is_plainly_sound`: whole numbers with their bounds, numbers, and those with a check."""
    whole: list[Any] = []
    numbers: list[str] = []
    others: list[Any] = []
    for column in table.columns:
        if column.name == "run":
            continue
        if isinstance(column.type, sa.Integer) and not column.nullable:
            whole.append((column.name, *_bounds(column.type)))
        elif isinstance(column.type, sa.Double) and not column.nullable:
            numbers.append(column.name)
        else:
            others.append((column.name, _checked(column)))
    return whole, numbers, others


_CHECKS: Final = {name: {column.name: _checked(column) for column in table.columns} for name, table in TABLES.items()}
_KEYS: Final = {name: {"table", EPISODE_UID, *checks} for name, checks in _CHECKS.items()}
_PLAIN: Final = {name: _plain(table) for name, table in TABLES.items()}
