"""Tests records that cannot be rows: each is refused alone, with its reason, the same on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from recorded_episodes import contents, decision, decisions_of, opened, outcome, outcomes_of, uid_of

from middleware.database import Database, Run, close_episode, deliver_records, find_episodes, write_records
from middleware.database import record_checks as checks
from middleware.database.schema import decisions, outcomes
from middleware.errors import ServiceRefused
from offload.profiles import PROFILES, make_profile
from offload.settings import Settings, resolve_settings

_INFINITE, _NAN = (np.array([0.5, value], "<f4").tobytes() for value in (np.inf, np.nan))

DAMAGED: list[tuple[dict[str, Any], str]] = [
    ({"table": "decision"}, "unknown table 'decision'"),
    ({"table": ["decisions"]}, "unknown table"),
    ({"table": None}, "unknown table None"),
    ({"colour": "red"}, "unknown columns: colour"),
    ({"slot": None}, "slot is None, not a whole number"),
    ({"slot": "3"}, "slot is '3', not a whole number"),
    ({"slot": 2**31}, "slot is 2147483648, beyond 2147483647"),
    ({"slot": True}, "slot is True, not a whole number"),
    ({"action": 40_000}, "action is 40000, beyond 32767"),
    ({"action": 1.5}, "action is 1.5, not a whole number"),
    ({"log_probability": -np.inf}, "log_probability is -inf, not a finite number"),
    ({"log_probability": np.nan}, "log_probability is nan, not a finite number"),
    ({"skew_s": np.inf}, "skew_s is inf, not a finite number"),
    ({"skew_s": 10**400}, "skew_s is 1000"),
    ({"skew_s": {}}, "skew_s is {}, not a number"),
    ({"model": "m" * 65}, "model is 65 characters long, at most 64"),
    ({"model": "\ud800"}, "model is not valid Unicode"),
    ({"observation": bytes(24_580)}, "observation is 24580 bytes long, at most 24576"),
    ({"observation": b"abc"}, "observation is 3 bytes long, which is not a multiple of the four"),
    ({"observation": "text"}, "observation is 'text', not bytes"),
    ({"observation": _NAN}, "observation contains numbers that are not finite"),
    ({"scores": _INFINITE}, "scores contains an infinity"),
    ({"run": 77}, "a record of run 77"),
]


@pytest.mark.parametrize(("change", "expected"), DAMAGED, ids=[expected[:40] for _, expected in DAMAGED])
def test_a_damaged_record_is_refused_alone(db: Database, run: Run, change: dict[str, Any], expected: str) -> None:
    """One damaged record kept all later records of its node out of the database, and every episode from its close."""
    episode, trace = opened(db, run)
    sound = contents(decisions_of(trace, episode))
    damaged = {**sound[4], **change}
    ended = contents(outcomes_of(run, trace, episode))
    (refused,) = deliver_records(db, run.number, [*sound[:4], damaged, *sound[5:], *ended])
    assert refused.content is damaged and expected in refused.reason
    summary = close_episode(db, run, episode)
    assert summary.verdict == "incomplete" and "1 decision records are missing" in (summary.reason or "")
    assert summary.refused_records == 1
    assert summary.outcomes == {"success": trace.has_task.sum()}


def test_a_missing_column_is_named(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    record = outcomes_of(run, trace, episode)[0].content()
    del record["completion_s"]
    (refused,) = deliver_records(db, run.number, [record])
    assert refused.reason == "a record of outcomes: completion_s (missing) is None, not a number"


def test_an_outcome_that_there_is_not_is_refused(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    record = {**outcomes_of(run, trace, episode)[0].content(), "outcome": "succes"}
    (refused,) = deliver_records(db, run.number, [record])
    assert refused.reason.startswith("a record of outcomes: outcome is 'succes', none of success, dropped, ")


def test_a_line_that_is_older_than_a_field_has_the_fields_default(db: Database, run: Run) -> None:
    """A node that is updated delivers what its predecessor left on the disk."""
    episode, _ = opened(db, run)
    older = decision(episode, 0, 0).content()
    del older["failed"], older["scores"]
    assert deliver_records(db, run.number, [older]) == []
    with db.reading() as connection:
        assert connection.execute(sa.select(decisions.c.failed, decisions.c.scores)).all() == [(False, None)]


def test_many_damaged_records_are_set_aside_and_counted_where_they_belong(db: Database, run: Run) -> None:
    first, trace = opened(db, run)
    second, _ = opened(db, run, 1)
    sound = contents(decisions_of(trace, first))
    damaged = [{**record, "skew_s": np.inf} for record in sound[::3]]
    damaged += [{"table": "decisions"}, {"table": "outcomes", "episode": second, "episode_uid": uid_of(second)}]
    damaged += [{"table": "outcomes", "episode": second}, {"table": "outcomes", "episode": []}]
    refused = deliver_records(db, run.number, [*damaged, *sound])
    assert len(refused) == len(damaged)
    counts = {one.episode: one.refused_records for one in find_episodes(db, run, status=None)}
    assert counts == {first: len(sound[::3]), second: 1}
    with db.reading() as connection:
        assert len(connection.execute(sa.select(decisions)).all()) == len(sound)


def test_what_only_the_database_finds_out_is_set_aside_as_well(
    db: Database, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a constraint that was added, or a value of a later version: found by halving the delivery."""
    episode, trace = opened(db, run)
    monkeypatch.setitem(checks._CHECKS["outcomes"], "completion_s", lambda value: None)
    sound = contents(outcomes_of(run, trace, episode))
    damaged = {**sound[0], "completion_s": None}
    (refused,) = deliver_records(db, run.number, [*sound[1:], damaged])
    assert refused.content == damaged and "IntegrityError" in refused.reason
    with db.reading() as connection:
        assert len(connection.execute(sa.select(outcomes)).all()) == len(sound) - 1


def test_a_statement_that_the_database_refuses_refuses_no_record(db: Database, run: Run) -> None:
    """A table that is missing for a while must not empty every node's outbox into a file of refused records."""
    episode, trace = opened(db, run)
    ended = contents(outcomes_of(run, trace, episode))
    with db.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE outcomes RENAME TO elsewhere")
    try:
        with pytest.raises(ServiceRefused):
            deliver_records(db, run.number, contents(decisions_of(trace, episode)) + ended)
    finally:
        with db.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO outcomes")
    assert deliver_records(db, run.number, ended) == []
    assert find_episodes(db, run, status=None)[0].refused_records == 0


def test_the_largest_records_of_the_largest_network_fit(db: Database, run: Run) -> None:
    episode, _ = opened(db, run)
    most = next(
        one for one in Settings.model_fields["network"].annotation.model_fields["nodes"].metadata if hasattr(one, "le")
    ).le
    sizes = [
        make_profile(resolve_settings([{"network": {"nodes": most}, "node": {"profile": name}}])).size
        for name in PROFILES
    ]
    assert 4 * max(sizes) <= decisions.c.observation.type.length
    values = {
        "observation": np.full(decisions.c.observation.type.length // 4, 0.1, "<f4").tobytes(),
        "scores": np.full(most, 0.1, "<f4").tobytes(),
        "mask": bytes([0x27]) * -(-(most + 1) // 8),
        "action": most,
    }
    assert write_records(db, run.number, [replace(decision(episode, slot, 0), **values) for slot in range(200)]) == []
    with db.reading() as connection:
        rows = connection.execute(sa.select(decisions.c.observation, decisions.c.scores)).all()
    assert len(rows) == 200 and set(rows) == {(values["observation"], values["scores"])}
    (refused,) = write_records(db, run.number, [outcome(run, episode, 999_999, most - 1)])
    assert refused.reason == "the episode has no such task"
