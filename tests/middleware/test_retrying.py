"""Tests that a call is retried while a service is unavailable, and only then."""

import pytest

from middleware import retrying
from middleware.errors import ServiceRefused, ServiceUnavailable

UNAVAILABLE = ServiceUnavailable("the database cannot be used now")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_RETRY_S", 0.0)


def test_call_is_repeated_until_the_database_is_available() -> None:
    troubles = [UNAVAILABLE, UNAVAILABLE]

    def call() -> str:
        if troubles:
            raise troubles.pop()
        return "done"

    assert retrying.retry_while_unavailable(call) == "done"


def test_retry_ends_at_its_limit() -> None:
    def call() -> None:
        raise UNAVAILABLE

    with pytest.raises(ServiceUnavailable):
        retrying.retry_while_unavailable(call, limit_s=0.0)


@pytest.mark.parametrize("error", [ValueError("a bug"), ServiceRefused("a wrong password")])
def test_another_error_is_raised_at_once(error: Exception) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error), match=str(error)):
        retrying.retry_while_unavailable(call)
    assert len(calls) == 1


def test_refusal_is_logged_once_and_an_outage_is_not(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        retrying.log_refusal(ServiceUnavailable("x is unavailable"), "a report")
        retrying.log_refusal(ServiceRefused("x refuses it", "a row"), "a report")
    assert [record.getMessage() for record in caplog.records] == ["a report: x refuses it; continuing without it"]
