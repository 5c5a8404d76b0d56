"""Tests that a call is retried while a service is unavailable, and only then."""

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from middleware import patience

AWAY = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_RETRY_S", 0.0)


def test_a_call_is_repeated_until_the_database_is_back() -> None:
    troubles = [AWAY, AWAY]

    def call() -> str:
        if troubles:
            raise troubles.pop()
        return "done"

    assert patience.patiently(call) == "done"


def test_patience_ends() -> None:
    def call() -> None:
        raise AWAY

    with pytest.raises(OperationalError):
        patience.patiently(call, patience_s=0.0)


def test_another_error_is_raised_at_once() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        patience.patiently(call)
    assert len(calls) == 1
