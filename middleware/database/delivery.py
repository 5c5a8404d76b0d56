"""Delivery of records of which some may be damaged: those are found and set aside, the others are written.

What a power loss leaves in a node's files may be anything, and one value that a database refuses makes it refuse the
whole transaction: without this, that record would keep all later ones of its node from being written, for ever.
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
"""What Python raises of a value of another kind than it should be, before the database sees it."""


def deliver_records(db: Database, run_number: int, contents: Sequence[Mapping[str, Any]]) -> list[Refused]:
    """Write every record that can be written; returns those that are refused for good, each with the reason.

    contents: each a `Record.content`, or what is left of one
    They are counted in the `refused_records` of the episode that they name, each once, however often it is delivered.
    Raises ServiceError when the database cannot be used, or refuses the statement whatever the values: then all wait.
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
    """Write the records, by halves where a value is refused; a single record that is refused goes to `unfit`."""
    try:
        return write_checked(db, run_number, records)
    except (ValueRefused, *_OF_DAMAGED_VALUES) as error:
        if len(records) == 1:
            unfit.append(Refused(records[0].content(), _words(error)[:_LONGEST_REASON]))
            return []
    half = len(records) // 2
    first = _write_apart(db, run_number, records[:half], unfit)
    return first + _write_apart(db, run_number, records[half:], unfit)


def _words(error: Exception) -> str:
    if isinstance(error, ValueRefused):
        return error.in_full
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
