"""Creates the first tables. `schema.py` documents the columns. This file must not change."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

Column = sa.Column[Any]

_TABLES = (
    "blobs", "configuration", "instances", "models", "decisions", "outcomes", "tasks", "episodes", "links", "nodes",
    "runs",
)  # fmt: skip


def _table(
    name: str, *columns: sa.schema.SchemaItem, primary_key: tuple[str, ...], of_run: bool = True, **options: Any
) -> None:
    foreign = [sa.ForeignKeyConstraint(["run"], ["runs.id"], name=f"fk_{name}_run")] if of_run else []
    keys = [sa.PrimaryKeyConstraint(*primary_key, name=f"pk_{name}")]
    # Binary collation makes names and paths case-sensitive, as in SQLite.
    op.create_table(
        name,
        *columns,
        *keys,
        *foreign,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        **options,
    )


def _integer(name: str) -> Column:
    return sa.Column(name, sa.Integer, nullable=False, autoincrement=False)


def _number(name: str) -> Column:
    return sa.Column(name, sa.Double, nullable=False)


def _count(name: str) -> Column:
    return sa.Column(name, sa.SmallInteger, nullable=False)


def _text(name: str, length: int, nullable: bool = False) -> Column:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _json(name: str) -> Column:
    return sa.Column(name, sa.JSON, nullable=False)


def _bytes(name: str, length: int, nullable: bool = False) -> Column:
    content = sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql")
    return sa.Column(name, content, nullable=nullable)


def upgrade() -> None:
    _table(
        "runs",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        _text("name", 128),
        _json("settings"),
        _json("services"),
        _json("versions"),
        _number("created_at"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
        primary_key=("id",),
        of_run=False,
    )
    _table(
        "nodes",
        _integer("run"),
        _integer("node"),
        _number("capacity_hz"),
        _number("failure_rate"),
        _number("arrival_probability"),
        primary_key=("run", "node"),
    )
    _table(
        "links",
        _integer("run"),
        _integer("source"),
        _integer("destination"),
        _number("rate_bps"),
        _number("failure_rate"),
        primary_key=("run", "source", "destination"),
    )
    _table(
        "episodes",
        _integer("run"),
        _integer("episode"),
        _text("phase", 16),
        _text("method", 64),
        sa.Column("trace", sa.BigInteger, nullable=False),
        _text("scheduler", 64),
        _json("parameters"),
        _text("model", 64, nullable=True),
        _integer("revision"),
        _text("status", 16),
        _text("verdict", 16, nullable=True),
        _text("reason", 512, nullable=True),
        _json("down"),
        _integer("late_slots"),
        _integer("refused_records"),
        _number("opened_at"),
        sa.Column("closed_at", sa.Double, nullable=True),
        primary_key=("run", "episode"),
    )
    _table(
        "tasks",
        _integer("run"),
        _integer("episode"),
        _integer("slot"),
        _integer("source"),
        _number("size_bits"),
        _number("cycles"),
        _number("deadline_s"),
        primary_key=("run", "episode", "slot", "source"),
        sqlite_with_rowid=False,
    )
    _table(
        "outcomes",
        _integer("run"),
        _integer("episode"),
        _integer("slot"),
        _integer("source"),
        sa.Column("destination", sa.Integer, nullable=True),
        _text("outcome", 24),
        _number("skew_s"),
        _number("decision_s"),
        _number("transmission_waiting_s"),
        _number("transmission_s"),
        _number("handover_s"),
        _number("execution_waiting_s"),
        _number("execution_s"),
        _number("completion_s"),
        _integer("end_slot"),
        sa.Column("late", sa.Boolean, nullable=False),
        _text("transfer", 16, nullable=True),
        _integer("written_by"),
        primary_key=("run", "episode", "slot", "source"),
        sqlite_with_rowid=False,
    )
    _table(
        "decisions",
        _integer("run"),
        _integer("episode"),
        _integer("slot"),
        _integer("node"),
        _bytes("observation", 24576),
        _bytes("mask", 4096),
        _count("action"),
        _text("model", 64, nullable=True),
        sa.Column("log_probability", sa.Double, nullable=True),
        _bytes("scores", 4096, nullable=True),
        _integer("revision"),
        _number("skew_s"),
        _number("decision_s"),
        _count("probes"),
        _count("execution_queue_length"),
        _count("sending_queue_length"),
        _count("receiving_queue_length"),
        _number("execution_backlog_s"),
        primary_key=("run", "episode", "slot", "node"),
        sqlite_with_rowid=False,
    )
    _table(
        "models",
        _integer("run"),
        _text("version", 64),
        _json("manifest"),
        _text("phase", 16),
        _text("method", 64),
        _integer("number"),
        _json("statistics"),
        _number("created_at"),
        primary_key=("run", "version"),
    )
    _table(
        "instances",
        _text("service", 32),
        _text("instance", 64),
        _text("run", 128),
        _text("address", 255),
        _json("metadata"),
        _number("started_at"),
        _number("heartbeat_at"),
        primary_key=("service", "instance", "run"),
        of_run=False,
    )
    _table(
        "configuration",
        _text("key", 128),
        _integer("revision"),
        _json("content"),
        _json("origins"),
        _text("written_by", 64),
        _number("written_at"),
        primary_key=("key",),
        of_run=False,
    )
    _table(
        "blobs",
        _text("path", 512),
        _integer("part"),
        sa.Column("content", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql"), nullable=False),
        primary_key=("path", "part"),
        of_run=False,
    )


def downgrade() -> None:
    for name in _TABLES:
        op.drop_table(name)
