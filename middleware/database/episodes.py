"""Episodes: opened with their tasks, closed with a verdict once every task has its one fate.

An episode takes records while its status is `open`. `close_episode` and `write_records` lock the episode's row, so that
a record is either counted in the close or refused, never both.

`lease`, in everything that writes: nothing is changed, and LeaseLost is raised, where another process controls the run by now;
None where the caller is the run's only writer anyhow.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.leases import Lease, fenced
from middleware.database.runs import Run
from middleware.database.schema import decisions, episodes, nodes, outcomes, refusals, runs, tasks
from offload.episodes import EpisodePhase, EpisodePlan, EpisodeStatus, Verdict
from offload.outcomes import Outcome, end_slot
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import Trace

CONTROLLER = -1
"""`outcomes.written_by` of what the controller wrote at the close."""

_ALL = 2**31 - 1  # MySQL knows no offset without a limit
_REASON_LENGTH = 512


class ConservationError(RuntimeError):
    """The conservation law is broken: a task without an outcome, or an outcome without a task."""


@dataclass(frozen=True)
class EpisodeSummary:
    """An episode as it is recorded, with the number of its tasks by outcome."""

    episode: int
    plan: EpisodePlan
    status: str
    verdict: str | None
    reason: str | None
    revision: int
    down: Mapping[int, Sequence[int]]
    late_slots: int
    refused_records: int
    tasks: int
    outcomes: Mapping[str, int]
    opened_at: float
    closed_at: float | None

    @property
    def successes(self) -> int:
        """How many tasks succeeded."""
        return self.outcomes.get(Outcome.SUCCESS, 0)


def open_episode(
    db: Database,
    run: Run,
    plan: EpisodePlan,
    trace: Trace,
    revision: int,
    uid: str,
    *,
    lease: Lease | None = None,
) -> int:
    """Write the episode's row and its tasks; returns its number within the run (1, 2, …).

    uid: 32 random hexadecimal digits, chosen by the caller: the same call may be repeated when its answer was lost, and
    returns the number of the episode that is there.
    Raises ValueError for a trace that the run's network or slots cannot play.
    """
    planned = run.settings.time
    if trace.slots > planned.slots or trace.nodes != run.settings.network.nodes or trace.slot_s != planned.slot_s:
        raise ValueError(
            f"the trace has {trace.slots} slots of {trace.slot_s:g} s for {trace.nodes} nodes; run '{run.name}' has "
            f"{planned.slots} slots of {planned.slot_s:g} s and {run.settings.network.nodes} nodes"
        )
    with fenced(db, lease) as connection:
        # Two openings at once get two numbers.
        connection.execute(sa.select(runs.c.id).where(runs.c.id == run.number).with_for_update())
        there = connection.execute(
            sa.select(episodes.c.episode).where(episodes.c.run == run.number, episodes.c.uid == uid)
        ).scalar()
        if there is not None:
            return int(there)
        last = connection.execute(
            sa.select(sa.func.max(episodes.c.episode)).where(episodes.c.run == run.number)
        ).scalar()
        number = (last or 0) + 1
        connection.execute(
            sa.insert(episodes).values(
                run=run.number,
                episode=number,
                uid=uid,
                phase=plan.phase,
                method=plan.method,
                trace=plan.trace,
                scheduler=plan.scheduler.name,
                parameters=dict(plan.scheduler.parameters),
                model=plan.scheduler.model,
                revision=revision,
                status=EpisodeStatus.OPEN,
                down={},
                late_slots=0,
                refused_records=0,
                opened_at=time.time(),
            )
        )
        rows = [
            {
                "run": run.number,
                "episode": number,
                "slot": task.slot,
                "source": task.source,
                "size_bits": task.size_bits,
                "cycles": task.cycles,
                "deadline_s": task.deadline_s,
            }
            for task in trace
        ]
        if rows:
            connection.execute(sa.insert(tasks), rows)
    return number


def close_episode(
    db: Database,
    run: Run,
    episode: int,
    *,
    down: Mapping[int, Sequence[int]] | None = None,
    late_slots: int = 0,
    mixed: str | None = None,
    recorded: Mapping[int, int] | None = None,
    lease: Lease | None = None,
) -> EpisodeSummary:
    """Close an episode in one transaction: `lost` for every task without an outcome, the verdict, the conservation check.

    down: slots in which a node was down. mixed: why several schedulers decided, None when it was one. An episode with a
        decision whose scheduler failed is mixed as well: the task stayed where it was, which the scheduler did not choose.
    recorded: how many outcomes each node says that it has recorded; an episode that has fewer of them is incomplete, as is one
        of which records were refused.
    An episode that is not open is left as it is. Raises ConservationError, having changed nothing.
    """
    down = down or {}
    with fenced(db, lease) as connection:
        row = _locked(connection, run, episode)
        if row.status == EpisodeStatus.OPEN:
            _write_lost(connection, run, episode)
            check_conservation(connection, run, episode)
            missing = [
                words
                for words in (
                    _missing_decision(connection, run, episode, down),
                    _refused_records(row.refused_records),
                    _missing_outcome(connection, run, episode, recorded or {}),
                )
                if words is not None
            ]
            verdict, reason = (Verdict.INCOMPLETE, "; ".join(missing)) if missing else (Verdict.COMPLETE, None)
            if mixed := mixed or _failed_decisions(connection, run, episode):
                verdict, reason = Verdict.MIXED, mixed
            connection.execute(
                sa.update(episodes)
                .where(episodes.c.run == run.number, episodes.c.episode == episode)
                .values(
                    status=EpisodeStatus.CLOSED,
                    verdict=verdict,
                    reason=None if reason is None else reason[:_REASON_LENGTH],
                    down={str(node): [int(slot) for slot in slots] for node, slots in down.items()},
                    late_slots=late_slots,
                    closed_at=time.time(),
                )
            )
    return _summaries(db, run, episodes.c.episode == episode)[0]


def forget_episodes(
    db: Database, run: Run, phase: str, keep: int, most: int = 20, *, lease: Lease | None = None
) -> int:
    """Delete the oldest ended episodes of a phase with all their records, so that `keep` stay; at most `most` at once.

    How many were deleted.
    """
    with fenced(db, lease) as connection:
        old = (
            connection.execute(
                sa.select(episodes.c.episode)
                .where(episodes.c.run == run.number, episodes.c.phase == phase, episodes.c.status != EpisodeStatus.OPEN)
                .order_by(episodes.c.episode.desc())
                .offset(keep)
                .limit(_ALL)
            )
            .scalars()
            .all()
        )[::-1][:most]
        for table in (outcomes, decisions, refusals, tasks, episodes) if old else ():
            connection.execute(sa.delete(table).where(table.c.run == run.number, table.c.episode.in_(old)))
    return len(old)


def abort_episode(db: Database, run: Run, episode: int, reason: str, *, lease: Lease | None = None) -> None:
    """End an open episode without a verdict: it takes no more records and is not counted anywhere."""
    with fenced(db, lease) as connection:
        connection.execute(
            sa.update(episodes)
            .where(episodes.c.run == run.number, episodes.c.episode == episode, episodes.c.status == EpisodeStatus.OPEN)
            .values(status=EpisodeStatus.ABORTED, reason=reason[:_REASON_LENGTH], closed_at=time.time())
        )


def find_episodes(
    db: Database,
    run: Run,
    *,
    phase: str | None = None,
    method: str | None = None,
    model: str | None = None,
    trace: int | None = None,
    episode: int | None = None,
    status: str | None = EpisodeStatus.CLOSED,
    verdict: str | None = None,
) -> list[EpisodeSummary]:
    """The run's episodes that have all the given properties (None: any), in the order in which they were opened."""
    wanted = {
        "phase": phase, "method": method, "model": model, "trace": trace,
        "episode": episode, "status": status, "verdict": verdict,
    }  # fmt: skip
    return _summaries(db, run, *(episodes.c[key] == value for key, value in wanted.items() if value is not None))


def load_trace(db: Database, run: Run, episode: int) -> Trace:
    """The tasks of an episode as a trace."""
    with db.reading() as connection:
        n = connection.execute(
            sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
        ).scalar_one()
        row = connection.execute(
            sa.select(episodes.c.trace).where(episodes.c.run == run.number, episodes.c.episode == episode)
        ).one_or_none()
        if row is None:
            raise LookupError(f"run '{run.name}' has no episode {episode}")
        rows = connection.execute(sa.select(tasks).where(tasks.c.run == run.number, tasks.c.episode == episode)).all()
    time_settings = run.settings.time
    shape = time_settings.slots, n
    has_task = np.zeros(shape, dtype=bool)
    facts = {key: np.zeros(shape) for key in ("size_bits", "cycles", "deadline_s")}
    for task in rows:
        has_task[task.slot, task.source] = True
        for key, values in facts.items():
            values[task.slot, task.source] = getattr(task, key)
    return Trace(row.trace, time_settings.slot_s, has_task, **facts)


def check_conservation(connection: Connection, run: Run, episode: int) -> None:
    """Raise ConservationError unless every task of the episode has exactly one outcome, and every outcome a task."""
    place = sa.and_(
        tasks.c.run == outcomes.c.run,
        tasks.c.episode == outcomes.c.episode,
        tasks.c.slot == outcomes.c.slot,
        tasks.c.source == outcomes.c.source,
    )
    counts = []
    for table in (tasks, outcomes):
        here = table.c.run == run.number, table.c.episode == episode
        counts.append(connection.execute(sa.select(sa.func.count()).select_from(table).where(*here)).scalar_one())
    both = connection.execute(
        sa.select(sa.func.count())
        .select_from(tasks.join(outcomes, place))
        .where(tasks.c.run == run.number, tasks.c.episode == episode)
    ).scalar_one()
    if not counts[0] == counts[1] == both:
        raise ConservationError(
            f"episode {episode} of run '{run.name}': {counts[0]} tasks, {counts[1]} outcomes, {both} of them match"
        )


def _locked(connection: Connection, run: Run, episode: int) -> Any:
    statement = sa.select(episodes).where(episodes.c.run == run.number, episodes.c.episode == episode)
    row = connection.execute(statement.with_for_update()).one_or_none()
    if row is None:
        raise LookupError(f"run '{run.name}' has no episode {episode}")
    return row


def _write_lost(connection: Connection, run: Run, episode: int) -> None:
    have = sa.select(outcomes.c.slot, outcomes.c.source).where(
        outcomes.c.run == run.number, outcomes.c.episode == episode
    )
    done = {(row.slot, row.source) for row in connection.execute(have)}
    time_settings = run.settings.time
    stages = (
        "skew_s", "decision_s", "transmission_waiting_s", "transmission_s", "handover_s",
        "execution_waiting_s", "execution_s",
    )  # fmt: skip
    lost = [
        {
            "run": run.number,
            "episode": episode,
            "slot": task.slot,
            "source": task.source,
            "destination": None,
            "outcome": Outcome.LOST.value,
            "completion_s": task.deadline_s,
            "end_slot": end_slot(task.slot, task.deadline_s, time_settings.slot_s, time_settings.slots),
            "late": False,
            "transfer": None,
            "written_by": CONTROLLER,
            **dict.fromkeys(stages, 0.0),
        }
        for task in connection.execute(
            sa.select(tasks).where(tasks.c.run == run.number, tasks.c.episode == episode)
        ).all()
        if (task.slot, task.source) not in done
    ]
    if lost:
        connection.execute(sa.insert(outcomes), lost)


def _missing_decision(connection: Connection, run: Run, episode: int, down: Mapping[int, Sequence[int]]) -> str | None:
    """In words, the first decision that is not recorded although its node was up; None when none is missing."""
    count = connection.execute(
        sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
    ).scalar_one()
    slots = run.settings.time.slots
    recorded = {
        (row.slot, row.node)
        for row in connection.execute(
            sa.select(decisions.c.slot, decisions.c.node).where(
                decisions.c.run == run.number, decisions.c.episode == episode
            )
        )
    }
    missing = [
        (slot, node)
        for slot in range(slots + 1)
        for node in range(count)
        if (slot, node) not in recorded and slot not in down.get(node, ())
    ]
    if not missing:
        return None
    slot, node = missing[0]
    return f"{len(missing)} decision records are missing, the first of node {node} in slot {slot}"


def _failed_decisions(connection: Connection, run: Run, episode: int) -> str | None:
    """In words, the decisions whose scheduler raised; None when there is none."""
    failed = connection.execute(
        sa.select(decisions.c.slot, decisions.c.node)
        .where(decisions.c.run == run.number, decisions.c.episode == episode, decisions.c.failed)
        .order_by(decisions.c.slot, decisions.c.node)
    ).all()
    if not failed:
        return None
    slot, node = failed[0]
    return f"the scheduler failed in {len(failed)} decisions, the first at node {node} in slot {slot}; its log says why"


def _refused_records(count: int) -> str | None:
    """In words, that records of the episode were refused; None when none was."""
    if not count:
        return None
    return f"{count} of its records were refused: refused.jsonl of the nodes says which, and why"


def _missing_outcome(connection: Connection, run: Run, episode: int, recorded: Mapping[int, int]) -> str | None:
    """In words, the first node of whose outcomes some are not in the database; None when all are there."""
    here = outcomes.c.run == run.number, outcomes.c.episode == episode
    counted = sa.select(outcomes.c.written_by, sa.func.count().label("count")).where(*here)
    there = {
        row.written_by: row._mapping["count"] for row in connection.execute(counted.group_by(outcomes.c.written_by))
    }
    for node, count in sorted(recorded.items()):
        if there.get(node, 0) < count:
            return f"of the {count} outcomes that node {node} recorded, {there.get(node, 0)} are in the database"
    return None


def _summaries(db: Database, run: Run, *conditions: Any) -> list[EpisodeSummary]:
    chosen = sa.select(episodes).where(episodes.c.run == run.number, *conditions).order_by(episodes.c.episode)
    numbers = sa.select(episodes.c.episode).where(episodes.c.run == run.number, *conditions)
    counted = (
        sa.select(outcomes.c.episode, outcomes.c.outcome, sa.func.count().label("count"))
        .where(outcomes.c.run == run.number, outcomes.c.episode.in_(numbers))
        .group_by(outcomes.c.episode, outcomes.c.outcome)
    )
    generated = (
        sa.select(tasks.c.episode, sa.func.count().label("count"))
        .where(tasks.c.run == run.number, tasks.c.episode.in_(numbers))
        .group_by(tasks.c.episode)
    )
    with db.reading() as connection:
        rows = connection.execute(chosen).all()
        by_outcome: dict[int, dict[str, int]] = {}
        for count in connection.execute(counted):
            by_outcome.setdefault(count.episode, {})[count.outcome] = count._mapping["count"]
        totals = {count.episode: count._mapping["count"] for count in connection.execute(generated)}
    return [
        EpisodeSummary(
            episode=row.episode,
            plan=EpisodePlan(
                EpisodePhase(row.phase),
                row.method,
                row.trace,
                SchedulerChoice(row.scheduler, row.parameters, row.model),
            ),
            status=row.status,
            verdict=row.verdict,
            reason=row.reason,
            revision=row.revision,
            down={int(node): tuple(slots) for node, slots in row.down.items()},
            late_slots=row.late_slots,
            refused_records=row.refused_records,
            tasks=totals.get(row.episode, 0),
            outcomes=by_outcome.get(row.episode, {}),
            opened_at=row.opened_at,
            closed_at=row.closed_at,
        )
        for row in rows
    ]
