"""Writes delivered records of which some may be damaged: it refuses the damaged ones, and writes the others.

A power loss may leave arbitrary data in a node's files. A database refuses a whole transaction because of one wrong
value. Without this module, one damaged record would block all later records of its node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from middleware.database.engine import Database
from middleware.database.record_checks import UnfitRecord, parsed_record
from middleware.database.records import Refused, count_refused, write_checked
from middleware.errors import ValueRefused
from offload.records import Record

_LONGEST_REASON = 300
_OF_DAMAGED_VALUES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What Python raises for a value of a wrong type, before the value reaches the database."""


def deliver_records(db: Database, run_number: int, contents: Sequence[Mapping[str, Any]]) -> list[Refused]:
    """Write every valid record. Returns the permanently refused ones, each with the reason.

    contents: each a `Record.content`, possibly damaged
    A refused record is counted once in the `refused_records` of its episode, even if it is delivered several times.
    Raises ServiceError if the database is unavailable, or refuses the statement for any values. Then deliver all again.
    """
    records: list[Record] = []
    unfit: list[Refused] = []
    for content in contents:
        try:
            records.append(parsed_record(content, run_number))
        except UnfitRecord as wrong:
            unfit.append(Refused(content, str(wrong)[:_LONGEST_REASON]))
    refused = _write_apart(db, run_number, records, unfit)
    if unfit:
        with db.transaction() as connection:
            count_refused(db, connection, run_number, unfit)
    return refused + unfit


def _write_apart(db: Database, run_number: int, records: Sequence[Record], unfit: list[Refused]) -> list[Refused]:
    """Write the records. If a value is refused, try both halves separately, down to the one record for `unfit`."""
    try:
        return write_checked(db, run_number, records)
    except (ValueRefused, *_OF_DAMAGED_VALUES) as error:
        if len(records) == 1:
            unfit.append(Refused(records[0].content(), _message(error)[:_LONGEST_REASON]))
            return []
    half = len(records) // 2
    first = _write_apart(db, run_number, records[:half], unfit)
    return first + _write_apart(db, run_number, records[half:], unfit)


def _message(error: Exception) -> str:
    if isinstance(error, ValueRefused):
        return error.in_full
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
