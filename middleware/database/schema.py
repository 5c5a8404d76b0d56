"""Defines the tables of the database. A change of a table needs a migration in `migrations/versions/`.

Durations are model seconds. Instants are model seconds since the episode's start, except columns named `_at`, which are
Unix seconds.

The columns of `outcomes` and `decisions` are the fields of their records (`offload/records.py`).

Keys are `(run, episode, slot, source)`: the run's number, the episode's number within the run, the slot, and the node
that received the task. Rows are written once, with insert-or-ignore, so that a delivery may be repeated.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    literal,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from offload.records import EPISODE_UID, DecisionRecord, OutcomeRecord, Record, RecordField, fields_of

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")


def _run_key() -> Column[int]:
    return Column("run", Integer, ForeignKey("runs.id"), primary_key=True, autoincrement=False)


def _table_of(record: type[Record], comment: str) -> Table:
    """A table with the run and a column per field. `offload/records.py` states the types, units and meanings."""
    columns = [
        Column(
            field.name,
            _type_of(field),
            primary_key=field.name in record.key,
            autoincrement=False,
            nullable=field.is_optional,
            server_default=None if field.default is None else literal(field.default),
        )
        for field in fields_of(record)
        if field.name != EPISODE_UID
    ]
    return Table(record.table, metadata, _run_key(), *columns, comment=comment)


def _type_of(field: RecordField) -> TypeEngine[Any]:
    if field.kind is int:
        return SmallInteger() if field.size <= 16 else Integer()
    if field.kind is float:
        return Double()
    if field.kind is bool:
        return Boolean()
    if field.kind is bytes:
        return LargeBinary(field.size).with_variant(mysql.VARBINARY(field.size), "mysql")
    assert issubclass(field.kind, str)
    return String(field.size)


runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(128), nullable=False, unique=True),
    Column(
        "uid",
        String(32),
        nullable=False,
        server_default="",
        comment="random: distinguishes runs of the same name in different databases",
    ),
    Column("settings", JSON, nullable=False, comment="Settings.experiment(): all settings except the services"),
    Column("services", JSON, nullable=False, comment="the services' URLs without passwords"),
    Column("versions", JSON, nullable=False, comment="of the testbed, Python and the libraries; the machine"),
    Column("created_at", Double, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    _run_key(),
    Column("node", Integer, primary_key=True, autoincrement=False),
    Column("capacity_hz", Double, nullable=False),
    Column("failure_rate", Double, nullable=False),
    Column("arrival_probability", Double, nullable=False),
)

links = Table(
    "links",
    metadata,
    _run_key(),
    Column("source", Integer, primary_key=True, autoincrement=False),
    Column("destination", Integer, primary_key=True, autoincrement=False),
    Column("rate_bps", Double, nullable=False),
    Column("failure_rate", Double, nullable=False),
)

episodes = Table(
    "episodes",
    metadata,
    _run_key(),
    Column("episode", Integer, primary_key=True, autoincrement=False, comment="1, 2, … within the run"),
    Column("uid", String(32), nullable=False, server_default="", comment="random: records and openings contain it"),
    Column("phase", String(16), nullable=False, comment="collect, checkpoint, online, evaluate, replay, serve"),
    Column("method", String(64), nullable=False),
    Column("trace", BigInteger, nullable=False, comment="the trace's number: seeds the random draws"),
    Column("scheduler", String(64), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("model", String(64), nullable=True, comment="VERSION, or RUN/VERSION of another run's"),
    Column("revision", Integer, nullable=False, comment="of the live settings at the opening"),
    Column("status", String(16), nullable=False, comment="open, closed or aborted; accepts records while open"),
    Column("verdict", String(16), nullable=True, comment="of a closed episode: complete, mixed or incomplete"),
    Column("reason", String(512), nullable=True, comment="of a verdict other than complete, or of an abort"),
    Column("down", JSON, nullable=False, comment='slots in which a node was down: {"3": [7, 8]}'),
    Column("late_slots", Integer, nullable=False, comment="ticks more than a tenth of a slot late"),
    Column("refused_records", Integer, nullable=False, comment="number of rows in `refusals`"),
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double, nullable=True),
)

Index("ix_runs_uid", runs.c.uid, unique=True)
Index("ix_episodes_uid", episodes.c.uid, unique=True)

leases = Table(
    "leases",
    metadata,
    _run_key(),
    Column("holder", String(64), nullable=False, comment="the process that controls the run, or did so last"),
    Column("epoch", Integer, nullable=False, comment="1, 2, …: grows with every new holder; nodes refuse older ones"),
    Column("expires_at", Double, nullable=False, comment="Unix seconds by the database's clock"),
    comment="at most one process at a time controls a run",
)

tasks = Table(
    "tasks",
    metadata,
    _run_key(),
    Column("episode", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("source", Integer, primary_key=True, autoincrement=False),
    Column("size_bits", Double, nullable=False),
    Column("cycles", Double, nullable=False),
    Column("deadline_s", Double, nullable=False),
    comment="inserted by the controller when it opens the episode",
)

outcomes = _table_of(
    OutcomeRecord, "one per task; written by the task's owner, or as lost by the controller at the close"
)

refusals = Table(
    "refusals",
    metadata,
    _run_key(),
    Column("episode", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(32), primary_key=True, comment="of the record's content"),
    comment="digests of refused records, to count a repeated delivery once; the nodes keep the records",
)

decisions = _table_of(DecisionRecord, "one per node and slot, the observation-only slot T included")

models = Table(
    "models",
    metadata,
    _run_key(),
    Column("version", String(64), primary_key=True),
    Column("manifest", JSON, nullable=False),
    Column("phase", String(16), nullable=False, comment="offline or online"),
    Column("method", String(64), nullable=False, comment="offline-only, online-only or o2o-drl; offline-checkpoint"),
    Column("number", Integer, nullable=False, comment="gradient step (offline) or update (online)"),
    Column("statistics", JSON, nullable=False, comment="losses and the like, of the step or update that created it"),
    Column("created_at", Double, nullable=False),
)

instances = Table(
    "instances",
    metadata,
    Column("service", String(32), primary_key=True, comment="edgenode or controller"),
    Column("instance", String(64), primary_key=True, comment="a node's index, or 0"),
    Column("run", String(128), primary_key=True, comment="the run's name"),
    Column("address", String(255), nullable=False, comment="http://host:port"),
    Column("metadata", JSON, nullable=False, comment="process id, applied revision, model, …"),
    Column("started_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
)

pod_events = Table(
    "pod_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", Integer, ForeignKey("runs.id"), nullable=False),
    Column("node", Integer, nullable=False),
    Column("pod", String(255), nullable=False),
    Column("event", String(32), nullable=False, comment="killed"),
    Column("detail", String(255), nullable=False),
    Column("episode", Integer, nullable=True, comment="the running one"),
    Column("slot", Integer, nullable=True),
    Column("happened_at", Double, nullable=False),
    comment="events that failure injection on Kubernetes caused in edge-node pods",
)

configuration = Table(
    "configuration",
    metadata,
    Column("key", String(128), primary_key=True, comment="live settings: `live/<run>`"),
    Column("revision", Integer, nullable=False),
    Column("content", JSON, nullable=False),
    Column(
        "origins", JSON, nullable=False, comment="what each origin (file, helm) wrote last: an edit is a difference"
    ),
    Column("written_by", String(64), nullable=False),
    Column("written_at", Double, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("path", String(512), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False, comment="parts of at most 1 MiB"),
    Column("content", _Blob, nullable=False),
    comment="storage for the minimal profile, `storage: database:`",
)

for big in (tasks, outcomes, decisions):
    # Episodes are read in the order of the primary key. Without a rowid, the table needs no separate index.
    big.dialect_options["sqlite"]["with_rowid"] = False

for table in metadata.tables.values():
    # Binary collation makes names and paths case-sensitive, as in SQLite.
    # InnoDB has transactions; the server's default engine may have none.
    table.dialect_options["mysql"].update(engine="InnoDB", charset="utf8mb4", collate="utf8mb4_bin")
