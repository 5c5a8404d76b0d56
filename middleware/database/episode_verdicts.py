"""Finds the verdict of an episode at its close: complete, mixed or incomplete, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.runs import Run
from middleware.database.schema import decisions, nodes, outcomes
from offload.episodes import Verdict


def find_verdict(
    connection: Connection,
    run: Run,
    episode: int,
    down: Mapping[int, Sequence[int]],
    mixed: str | None,
    recorded: Mapping[int, int],
    refused_records: int,
) -> tuple[Verdict, str | None]:
    """The verdict, and the reason unless it is complete. For down, mixed and recorded see `close_episode`."""
    if mixed := mixed or _failed_decisions(connection, run, episode):
        return Verdict.MIXED, mixed
    missing = (
        _missing_decision(connection, run, episode, down),
        _refused_records(refused_records),
        _impossible_records(connection, run, episode),
        _missing_outcome(connection, run, episode, recorded),
    )
    reason = "; ".join(one for one in missing if one is not None)
    return (Verdict.INCOMPLETE, reason) if reason else (Verdict.COMPLETE, None)


def _missing_decision(connection: Connection, run: Run, episode: int, down: Mapping[int, Sequence[int]]) -> str | None:
    """How many decisions of running nodes are not recorded, and the first one, as text. None if none is missing."""
    count, slots = _nodes_of(connection, run), run.settings.time.slots
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


def _nodes_of(connection: Connection, run: Run) -> int:
    counted = sa.select(sa.func.count()).select_from(nodes).where(nodes.c.run == run.number)
    return int(connection.execute(counted).scalar_one())


def _impossible_records(connection: Connection, run: Run, episode: int) -> str | None:
    """How many records name a slot or a node that the run does not have, as text. None if there is none.

    A record has the form of a row when it is delivered, but a damaged one may still have impossible values.
    """
    count, slots = _nodes_of(connection, run), run.settings.time.slots
    of_decisions = sa.or_(
        ~decisions.c.slot.between(0, slots),
        ~decisions.c.node.between(0, count - 1),
        ~decisions.c.action.between(0, count),
    )
    of_outcomes = sa.or_(
        ~outcomes.c.destination.between(0, count - 1),
        ~outcomes.c.end_slot.between(0, slots - 1),
        outcomes.c.completion_s < 0,
    )
    found = 0
    for table, impossible in ((decisions, of_decisions), (outcomes, of_outcomes)):
        counted = sa.select(sa.func.count()).select_from(table)
        here = table.c.run == run.number, table.c.episode == episode
        found += int(connection.execute(counted.where(*here, impossible)).scalar_one())
    return f"{found} of its records name a slot, a node or a time that it does not have" if found else None


def _failed_decisions(connection: Connection, run: Run, episode: int) -> str | None:
    """How many decisions failed because the scheduler raised, and the first one, as text. None if none failed."""
    failed = connection.execute(
        sa.select(decisions.c.slot, decisions.c.node)
        .where(decisions.c.run == run.number, decisions.c.episode == episode, decisions.c.failed)
        .order_by(decisions.c.slot, decisions.c.node)
    ).all()
    if not failed:
        return None
    slot, node = failed[0]
    return (
        f"the scheduler failed in {len(failed)} decisions, the first at node {node} in slot {slot}; see the node's log"
    )


def _refused_records(count: int) -> str | None:
    """How many records of the episode were refused, as text. None if none was."""
    if not count:
        return None
    return f"{count} of its records were refused; see refused.jsonl of the nodes"


def _missing_outcome(connection: Connection, run: Run, episode: int, recorded: Mapping[int, int]) -> str | None:
    """The first node with outcomes that are missing in the database, as text. None if all are there."""
    here = outcomes.c.run == run.number, outcomes.c.episode == episode
    counted = sa.select(outcomes.c.written_by, sa.func.count().label("count")).where(*here)
    there = {
        row.written_by: row._mapping["count"] for row in connection.execute(counted.group_by(outcomes.c.written_by))
    }
    for node, count in sorted(recorded.items()):
        if there.get(node, 0) < count:
            return f"of the {count} outcomes that node {node} recorded, {there.get(node, 0)} are in the database"
    return None
