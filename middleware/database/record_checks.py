"""Checks that a record can be a row, with the same limits for every database.

SQLite accepts a text as a number, and ten bytes in a column of four. MySQL refuses a whole delivery because of one
value. So each record is checked here before any of them is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import numpy as np

from offload.records import RECORDS, Record, RecordField, enumerations_of, fields_of

Check = Callable[[Any], str | None]
"""Returns what is wrong with a value; None if nothing is."""

_INFINITIES: Final = (np.array(np.inf, "<f4").tobytes(), np.array(-np.inf, "<f4").tobytes())


class UnfitRecord(ValueError):
    """A record that cannot be a row. The message says why."""


def parsed_record(content: Mapping[str, Any], run_number: int) -> Record:
    """The record in a delivered `Record.content`, which may be damaged in any way and may also have a key `run`.

    Raises UnfitRecord unless the content has a known table, only fields of it, and allowed values.
    """
    table = content.get("table")
    if not isinstance(table, str) or table not in RECORDS:
        raise UnfitRecord(f"unknown table {table!r}; tables: {', '.join(RECORDS)}")
    unknown = content.keys() - _KEYS[table]
    if unknown:
        raise UnfitRecord(f"a record of {table} has unknown columns: {', '.join(sorted(str(key) for key in unknown))}")
    if content.get("run", run_number) != run_number:
        raise UnfitRecord(f"a record of run {content['run']!r} in a delivery of run {run_number}")
    values = {field.name: content.get(field.name, field.default) for field in fields_of(RECORDS[table])}
    _check(table, values, content)
    for name, texts in enumerations_of(RECORDS[table]).items():
        values[name] = texts(values[name])
    return RECORDS[table](**values)


def check_record(record: Record) -> None:
    """Raise UnfitRecord unless the fields of the record allow all its values."""
    values = vars(record)
    _check(record.table, values, values)


def _check(table: str, values: Mapping[str, Any], given: Container[str]) -> None:
    if _is_plainly_sound(values, *_PLAIN[table]):
        return
    for name, check in _CHECKS[table].items():
        wrong = check(values[name])
        if wrong is not None:
            raise UnfitRecord(f"a record of {table}: {name}{'' if name in given else ' (missing)'} {wrong}")


def _is_plainly_sound(
    values: Mapping[str, Any],
    whole: Sequence[tuple[str, int, int]],
    numbers: Sequence[str],
    others: Sequence[tuple[str, Check]],
) -> bool:
    """Whether the record is valid. Makes no function call per number, because this check runs for every record."""
    get, finite = values.get, math.isfinite
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


def _checked(field: RecordField) -> Check:
    check = _of_type(field)
    if not field.is_optional:
        return check
    return lambda value: None if value is None else check(value)


def _of_type(field: RecordField) -> Check:
    if field.kind is bool:
        return lambda value: None if isinstance(value, bool) else f"is {_shown(value)}, not true or false"
    if field.kind is int:
        return _whole(*_bounds(field))
    if field.kind is float:
        return _number
    if field.kind is str:
        return _text(field.size)
    if issubclass(field.kind, StrEnum):
        return _one_of(field.kind)
    assert field.kind is bytes
    check = _bytes(field.size)
    return check if field.float32 is None else _floats(check, field.float32.nan_allowed)


def _bounds(field: RecordField) -> tuple[int, int]:
    """The smallest and the largest number that the field allows."""
    most = 2 ** (field.size - 1) - 1
    return -most - 1, most


def _whole(least: int, most: int) -> Check:

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
        return f"is {_shown(value)}, too large for a number"


def _text(length: int) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return f"is {_shown(value)}, not a text"
        if len(value) > length:
            return f"is {len(value)} characters long, at most {length} are possible"
        return None if value.isascii() or _is_unicode(value) else "is not valid Unicode"

    return check


def _one_of(texts: type[StrEnum]) -> Check:
    known = frozenset(texts)

    def check(value: Any) -> str | None:
        if isinstance(value, str) and value in known:
            return None
        return f"is {_shown(value)}, none of {', '.join(texts)}"

    return check


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _bytes(length: int) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"is {_shown(value)}, not bytes"
        return None if len(value) <= length else f"is {len(value)} bytes long, at most {length} are possible"

    return check


def _floats(bytes_: Check, nan_allowed: bool) -> Check:
    def check(value: Any) -> str | None:
        wrong = bytes_(value)
        if wrong is not None:
            return wrong
        if len(value) % 4:
            return f"is {len(value)} bytes long, which is not a multiple of the four of a float32"
        if nan_allowed and not any(infinity in value for infinity in _INFINITIES):
            return None
        values = np.frombuffer(value, "<f4")
        # The dot product is faster than a check of each value. A value that is not finite makes it not finite.
        if math.isfinite(values @ values):
            return None
        if np.isfinite(values).all() or (nan_allowed and not np.isinf(values).any()):
            return None
        return f"contains {'an infinity' if nan_allowed else 'numbers that are not finite'}"

    return check


def _shown(value: Any) -> str:
    """The first characters of a value, which may be of any length."""
    try:
        text = repr(value)
    except ValueError:  # a number with too many digits
        text = type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}…"


def _plain(record: type[Record]) -> tuple[list[Any], list[str], list[Any]]:
    """The fields for `_is_plainly_sound`: integers with their bounds, floats, and fields with a check function."""
    whole: list[Any] = []
    numbers: list[str] = []
    others: list[Any] = []
    for field in fields_of(record):
        if field.kind is int and not field.is_optional:
            whole.append((field.name, *_bounds(field)))
        elif field.kind is float and not field.is_optional:
            numbers.append(field.name)
        else:
            others.append((field.name, _checked(field)))
    return whole, numbers, others


_CHECKS: Final = {name: {field.name: _checked(field) for field in fields_of(kind)} for name, kind in RECORDS.items()}
_KEYS: Final = {name: {"table", "run", *checks} for name, checks in _CHECKS.items()}
_PLAIN: Final = {name: _plain(kind) for name, kind in RECORDS.items()}
