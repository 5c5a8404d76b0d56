"""Tests that every task has exactly one outcome, whatever is repeated, late, or written at the same time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from recorded_episodes import NODES, SLOTS, contents, decision, decisions_of, opened, outcome, outcomes_of, uid_of

from middleware.database import (
    ConservationError,
    Database,
    Refused,
    Run,
    abort_episode,
    close_episode,
    deliver_records,
    find_episodes,
    forget_episodes,
    load_trace,
    open_episode,
    write_records,
)
from middleware.database.records import row_of
from middleware.database.schema import decisions, outcomes, tasks
from offload.episodes import EpisodePlan
from offload.outcomes import Outcome
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import Trace


def _close(db: Database, run: Run, episode: int, **changes: Any) -> Any:
    return close_episode(db, run, episode, **{"down": {}, "late_slots": 0, "mixed": None, **changes})


def _played(db: Database, run: Run, number: int = 0) -> tuple[int, Trace]:
    episode, trace = opened(db, run, number)
    assert write_records(db, run.number, decisions_of(trace, episode) + outcomes_of(run, trace, episode)) == []
    return episode, trace


def test_a_complete_episode(db: Database, run: Run) -> None:
    episode, trace = _played(db, run)
    summary = _close(db, run, episode, late_slots=2)
    assert (summary.status, summary.verdict, summary.reason, summary.late_slots) == ("closed", "complete", None, 2)
    assert summary.tasks == summary.successes == trace.has_task.sum() > 0
    assert summary.outcomes == {"success": summary.tasks}
    assert summary.plan == EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc"))


def test_of_continuous_episodes_the_newest_are_kept_and_of_others_all(db: Database, run: Run) -> None:
    """A testbed that serves for weeks must not fill the disk. A pipeline's logs are its training data."""
    kinds = ["serve", "collect", "serve", "serve", "serve"]
    numbers = []
    for number, phase in enumerate(kinds):
        episode, trace = opened(db, run, plan=EpisodePlan(phase, "ratc", number, SchedulerChoice("ratc")))
        write_records(db, run.number, decisions_of(trace, episode) + outcomes_of(run, trace, episode))
        numbers.append(episode)
        if number < 4:
            _close(db, run, episode)
    assert forget_episodes(db, run, "serve", keep=2) == 1
    assert [one.episode for one in find_episodes(db, run, status=None)] == numbers[1:]
    with db.reading() as connection:
        for table in (decisions, outcomes, tasks):
            there = set(connection.execute(sa.select(table.c.episode).where(table.c.run == run.number)).scalars())
            assert there == set(numbers[1:]), table.name
    assert forget_episodes(db, run, "serve", keep=2) == 0
    assert opened(db, run)[0] == numbers[-1] + 1, "numbers are not given twice"


def test_the_trace_of_an_episode_can_be_replayed(db: Database, run: Run) -> None:
    episode, trace = opened(db, run, number=7)
    loaded = load_trace(db, run, episode)
    assert loaded.to_json() == trace.to_json()
    assert loaded.episode == 7


def test_a_trace_that_the_run_cannot_play_is_refused(db: Database, run: Run) -> None:
    shape = SLOTS + 3, NODES
    trace = Trace(0, run.settings.time.slot_s, np.zeros(shape, bool), np.zeros(shape), np.zeros(shape), np.zeros(shape))
    with pytest.raises(ValueError, match=rf"{SLOTS + 3} slots.*has {SLOTS} slots"):
        open_episode(db, run, EpisodePlan("serve", "ratc", 0, SchedulerChoice("ratc")), trace, 1, "f" * 32)
    assert find_episodes(db, run, status=None) == []


def test_a_task_without_outcome_is_lost_at_its_deadline(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    write_records(db, run.number, decisions_of(trace, episode))
    summary = _close(db, run, episode)
    assert summary.outcomes == {"lost": summary.tasks}
    with db.reading() as connection:
        rows = connection.execute(sa.select(outcomes)).mappings().all()
    for row in rows:
        assert row["destination"] is None
        assert row["written_by"] == -1
        assert row["completion_s"] == run.settings.tasks.deadline_s
        # The deadline of 1 s is ten slots of 0.1 s: beyond the last slot of this episode.
        assert row["end_slot"] == SLOTS - 1


def test_a_second_outcome_of_a_task_is_refused_counted_and_logged(
    db: Database, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    episode, trace = opened(db, run)
    first = outcomes_of(run, trace, episode)
    assert write_records(db, run.number, decisions_of(trace, episode) + first) == []
    assert write_records(db, run.number, first) == [], "a repeated delivery is none"
    second = replace(first[0], written_by=first[0].written_by + 1, outcome=Outcome.DROPPED)
    assert contents(write_records(db, run.number, [second])) == contents([second])
    assert "has two outcomes" in caplog.text
    summary = _close(db, run, episode)
    assert summary.refused_records == 1
    assert sum(summary.outcomes.values()) == summary.tasks


def test_a_close_that_is_repeated_changes_nothing(db: Database, run: Run) -> None:
    episode, _ = _played(db, run)
    assert _close(db, run, episode) == _close(db, run, episode, mixed="too late", late_slots=9)


def test_a_changed_live_setting_makes_an_episode_mixed(db: Database, run: Run) -> None:
    episode, _ = _played(db, run)
    summary = _close(db, run, episode, mixed="revision 3 by Ada in slot 4 " + "x" * 600)
    assert summary.verdict == "mixed"
    assert summary.reason.startswith("revision 3 by Ada in slot 4")


def test_a_decision_whose_scheduler_failed_makes_an_episode_mixed(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    first, *others = decisions_of(trace, episode)
    records = [replace(first, failed=True), *others, *outcomes_of(run, trace, episode)]
    assert write_records(db, run.number, records) == []
    summary = close_episode(db, run, episode)
    assert (summary.verdict, summary.reason) == (
        "mixed",
        "the scheduler failed in 1 decisions, the first at node 0 in slot 0; see the node's log",
    )


@pytest.mark.parametrize("slot", [2, SLOTS])
def test_missing_decision_of_a_running_node_is_incomplete(db: Database, run: Run, slot: int) -> None:
    for down, verdict in (({}, "incomplete"), ({1: [slot]}, "complete")):
        episode, trace = opened(db, run)
        kept = [row for row in decisions_of(trace, episode) if (row.slot, row.node) != (slot, 1)]
        write_records(db, run.number, kept + outcomes_of(run, trace, episode))
        summary = _close(db, run, episode, down=down)
        assert summary.verdict == verdict
        assert summary.down == {node: tuple(slots) for node, slots in down.items()}
        if verdict == "incomplete":
            assert summary.reason == f"1 decision records are missing, the first of node 1 in slot {slot}"


@pytest.mark.parametrize(
    "changes", [{"slot": SLOTS + 1}, {"slot": -1}, {"node": NODES}, {"node": -1}, {"slot": 5000, "node": 32767}]
)
def test_a_decision_of_an_impossible_place_makes_an_episode_incomplete(
    db: Database, run: Run, changes: dict[str, int]
) -> None:
    """Regression: a damaged line with slot 5000 ended every later command of its run with an IndexError."""
    episode, trace = _played(db, run)
    stray = replace(decisions_of(trace, episode)[0], **changes)
    assert write_records(db, run.number, [stray]) == []
    summary = _close(db, run, episode)
    reason = "1 of its records name a slot, a node or a time that it does not have"
    assert (summary.verdict, summary.reason) == ("incomplete", reason)


@pytest.mark.parametrize(
    "changes", [{"destination": -1}, {"destination": NODES}, {"end_slot": SLOTS}, {"end_slot": -1}]
)
def test_an_outcome_of_an_impossible_place_makes_an_episode_incomplete(
    db: Database, run: Run, changes: dict[str, int]
) -> None:
    episode, trace = opened(db, run)
    first, *others = outcomes_of(run, trace, episode)
    records = [*decisions_of(trace, episode), replace(first, **changes), *others]
    assert write_records(db, run.number, records) == []
    assert _close(db, run, episode).verdict == "incomplete"


@pytest.mark.parametrize("uid", ["\ud800", "é" * 32, "\x00", ""])
def test_a_record_with_a_damaged_uid_is_refused(db: Database, run: Run, uid: str) -> None:
    """Regression: half of a surrogate pair ended the node's process at each delivery."""
    episode, _ = opened(db, run)
    damaged = {"table": "outcomes", "episode": episode, "episode_uid": uid}
    (refused,) = deliver_records(db, run.number, [damaged])
    assert refused.content == damaged


def test_an_outcome_without_a_task_breaks_the_conservation_law(db: Database, run: Run) -> None:
    episode, trace = _played(db, run)
    slot, source = (int(part) for part in np.argwhere(~trace.has_task)[0])
    stray = outcome(run, episode, slot, source)
    with db.transaction() as connection:
        connection.execute(sa.insert(outcomes).values(row_of(stray, run.number)))
    with pytest.raises(ConservationError, match=rf"{trace.has_task.sum()} tasks, {trace.has_task.sum() + 1} outcomes"):
        _close(db, run, episode)
    assert find_episodes(db, run) == []


def test_an_outcome_of_no_task_is_refused_and_the_episode_is_closed(db: Database, run: Run) -> None:
    """One damaged digit in a node's file ended the controller at every close."""
    episode, trace = opened(db, run)
    slot, source = (int(part) for part in np.argwhere(~trace.has_task)[0])
    stray = outcome(run, episode, slot, source)
    sound = decisions_of(trace, episode) + outcomes_of(run, trace, episode)
    (refused,) = write_records(db, run.number, [*sound, stray])
    assert refused == Refused(stray.content(), "the episode has no such task")
    summary = _close(db, run, episode)
    assert (summary.verdict, summary.refused_records) == ("incomplete", 1)
    assert summary.reason == "1 of its records were refused; see refused.jsonl of the nodes"


def test_an_episode_that_lacks_outcomes_which_a_node_recorded_is_incomplete(db: Database, run: Run) -> None:
    """A task whose record was dropped or damaged counts as lost, and no other sign shows that it was not."""
    episode, trace = opened(db, run)
    ended = outcomes_of(run, trace, episode)
    write_records(db, run.number, decisions_of(trace, episode) + ended[1:])
    owner = ended[0].written_by
    recorded = sum(one.written_by == owner for one in ended)
    summary = _close(db, run, episode, recorded={owner: recorded})
    reason = f"of the {recorded} outcomes that node {owner} recorded, {recorded - 1} are in the database"
    assert (summary.verdict, summary.reason) == ("incomplete", reason)


def test_repeated_delivery_is_written_once(db: Database, run: Run) -> None:
    episode, trace = _played(db, run)
    task = next(iter(trace))
    assert write_records(db, run.number, [outcome(run, episode, task.slot, task.source, "dropped")]) == []
    assert _close(db, run, episode).outcomes == {"success": trace.has_task.sum()}


def test_what_comes_after_the_close_is_refused_and_counted(db: Database, run: Run) -> None:
    episode, trace = opened(db, run)
    _close(db, run, episode)
    late = [*decisions_of(trace, episode)[:2], *outcomes_of(run, trace, episode)[:1]]
    open_one, _ = opened(db, run, 1)
    mixed_delivery = [*late, decision(open_one, 0, 0)]
    assert contents(write_records(db, run.number, mixed_delivery)) == contents(late)
    summary = find_episodes(db, run, episode=episode)[0]
    assert summary.refused_records == 3
    assert summary.outcomes == {"lost": summary.tasks}
    with db.reading() as connection:
        assert connection.execute(sa.select(decisions.c.episode)).scalars().all() == [open_one]


def test_delivery_repeated_after_a_lost_answer_is_accepted(db: Database, run: Run) -> None:
    episode, trace = _played(db, run)
    _close(db, run, episode)
    assert write_records(db, run.number, decisions_of(trace, episode) + outcomes_of(run, trace, episode)) == []
    assert find_episodes(db, run)[0].refused_records == 0


def test_records_of_another_episode_uid_are_refused(db: Database, run: Run) -> None:
    """Two experiments of one name both have an episode 1: the second must not be closed with decisions of the first."""
    episode, trace = _played(db, run)
    foreign = contents([replace(one, episode_uid="f" * 32) for one in outcomes_of(run, trace, episode)])
    nameless = decision(episode, 0, 0).content()
    del nameless["episode_uid"]
    assert contents(deliver_records(db, run.number, [*foreign, nameless])) == [*foreign, nameless]
    summary = _close(db, run, episode)
    assert (summary.verdict, summary.refused_records) == ("complete", 0), "they are not this episode's"
    assert contents(deliver_records(db, run.number, foreign)) == foreign, "after the close as well"


def test_a_record_that_is_refused_twice_is_counted_once(db: Database, run: Run) -> None:
    """The answer to the first delivery was lost: the number of refused records in the results must still be right."""
    episode, trace = opened(db, run)
    _close(db, run, episode)
    late = [*decisions_of(trace, episode)[:2], *outcomes_of(run, trace, episode)[:1]]
    for _ in range(2):
        assert contents(write_records(db, run.number, late)) == contents(late)
    assert find_episodes(db, run, episode=episode)[0].refused_records == 3


def test_an_opening_that_is_repeated_opens_one_episode(db: Database, run: Run) -> None:
    first, trace = opened(db, run)
    plan = EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc"))
    assert open_episode(db, run, plan, trace, 1, uid_of(first)) == first
    assert open_episode(db, run, plan, trace, 1, uid_of(first + 1)) == first + 1
    assert [one.tasks for one in find_episodes(db, run, status=None)] == 2 * [trace.has_task.sum()]


def test_records_of_an_episode_that_nobody_opened_are_refused(db: Database, run: Run) -> None:
    stray = decision(42, 0, 0)
    assert contents(write_records(db, run.number, [stray])) == contents([stray])
    assert write_records(db, run.number, []) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"skew_s": np.nan}, "skew_s is nan, not a finite number"), ({"action": 2**15}, "action is 32768, beyond 32767")],
)
def test_of_records_with_an_impossible_one_none_is_written(
    db: Database, run: Run, change: dict[str, Any], expected: str
) -> None:
    episode, _ = opened(db, run)
    with pytest.raises(ValueError, match=expected):
        write_records(db, run.number, [decision(episode, 0, 0), replace(decision(episode, 0, 1), **change)])
    with db.reading() as connection:
        assert connection.execute(sa.select(decisions)).all() == []


def test_aborted_episode_refuses_records_and_is_not_closed(db: Database, run: Run) -> None:
    episode, _ = opened(db, run)
    abort_episode(db, run, episode, "node 2 did not open")
    assert len(write_records(db, run.number, [decision(episode, 0, 0)])) == 1
    assert find_episodes(db, run) == []
    (aborted,) = find_episodes(db, run, status="aborted")
    assert aborted.reason == "node 2 did not open"
    assert _close(db, run, episode).status == "aborted"


def test_episodes_are_found_by_what_they_are(db: Database, run: Run) -> None:
    plans = [
        EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc")),
        EpisodePlan("online", "o2o-drl", 1, SchedulerChoice("drl", model="v1")),
        EpisodePlan("online", "o2o-drl", 2, SchedulerChoice("drl", {"temperature": 2}, "v2")),
    ]
    for plan in plans:
        episode, _ = opened(db, run, plan=plan)
        _close(db, run, episode, mixed="x" if plan.scheduler.model == "v1" else None)

    def found(**wanted: Any) -> list[int]:
        return [summary.episode for summary in find_episodes(db, run, **wanted)]

    assert found() == [1, 2, 3]
    assert found(phase="online") == [2, 3]
    assert found(method="o2o-drl", model="v2") == [3]
    assert found(verdict="mixed") == [2]
    assert find_episodes(db, run, model="v2")[0].plan == plans[2]


def test_processes_that_write_at_once_lose_nothing(db: Database, run: Run, database_url: str) -> None:
    """Ten nodes deliver their batches at the same time, each batch twice."""
    episode, trace = opened(db, run)
    writers = 10
    program = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = {[str(folder) for folder in (Path(__file__).parent, Path(__file__).parent.parent)]}
        from recorded_episodes import decisions_of, outcomes_of
        from middleware.database import Database, load_run, load_trace, write_records
        db, share = Database.connect(sys.argv[1]), int(sys.argv[2])
        run = load_run(db, "small")
        trace = load_trace(db, run, {episode})
        records = decisions_of(trace, {episode}) + outcomes_of(run, trace, {episode})
        for record in [*records[share::{writers}], *records[share::{writers}]]:
            assert write_records(db, run.number, [record]) == []
        """
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, database_url, str(share)], stderr=subprocess.PIPE, text=True)
        for share in range(writers)
    ]
    troubles = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * writers, troubles
    summary = _close(db, run, episode)
    assert (summary.verdict, summary.outcomes) == ("complete", {"success": trace.has_task.sum()})


def test_what_comes_during_the_close_is_counted_or_refused_never_both(db: Database, run: Run) -> None:
    for number in range(8):
        episode, trace = opened(db, run, number)
        records = outcomes_of(run, trace, episode)
        refused: list[Any] = []
        begun = threading.Event()

        def deliver(records: list[Any] = records, refused: list[Any] = refused, begun: threading.Event = begun) -> None:
            for record in records:
                begun.set()
                refused += write_records(db, run.number, [record])

        writer = threading.Thread(target=deliver)
        writer.start()
        begun.wait()
        _close(db, run, episode)
        writer.join()
        (summary,) = find_episodes(db, run, episode=episode)
        assert summary.outcomes.get("lost", 0) == len(refused) == summary.refused_records
        assert summary.successes == len(records) - len(refused)
