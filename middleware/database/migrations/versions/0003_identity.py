"""Adds identities of runs, episodes and refused records, the lease of a run, and the mark of failed decisions."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The default is for existing rows, which get their own identities below.
    for table in ("runs", "episodes"):
        op.add_column(table, sa.Column("uid", sa.String(32), nullable=False, server_default=""))
    connection = op.get_bind()
    runs = sa.table("runs", sa.column("id"), sa.column("uid"))
    for number in connection.execute(sa.select(runs.c.id)).scalars().all():
        connection.execute(sa.update(runs).where(runs.c.id == number).values(uid=uuid.uuid4().hex))
    episodes = sa.table("episodes", sa.column("run"), sa.column("episode"), sa.column("uid"))
    for run, episode in connection.execute(sa.select(episodes.c.run, episodes.c.episode)).all():
        connection.execute(
            sa.update(episodes).where(episodes.c.run == run, episodes.c.episode == episode).values(uid=uuid.uuid4().hex)
        )
    op.create_index("ix_runs_uid", "runs", ["uid"], unique=True)
    op.create_index("ix_episodes_uid", "episodes", ["uid"], unique=True)
    op.add_column("decisions", sa.Column("failed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "leases",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_leases"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_leases_run"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_table(
        "refusals",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("episode", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("run", "episode", "digest", name="pk_refusals"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_refusals_run"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def downgrade() -> None:
    op.drop_table("refusals")
    op.drop_table("leases")
    op.drop_column("decisions", "failed")
    for table in ("episodes", "runs"):
        op.drop_index(f"ix_{table}_uid", table)
        op.drop_column(table, "uid")
