"""Renames the key of the live settings from `hot/<run>` to `live/<run>`."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NOW, _BEFORE = "live/", "hot/"


def upgrade() -> None:
    _rename(_BEFORE, _NOW)


def downgrade() -> None:
    _rename(_NOW, _BEFORE)


def _rename(old: str, new: str) -> None:
    connection = op.get_bind()
    configuration = sa.table("configuration", sa.column("key"))
    for key in connection.execute(sa.select(configuration.c.key)).scalars().all():
        if key.startswith(old):
            renamed = new + key.removeprefix(old)
            connection.execute(sa.update(configuration).where(configuration.c.key == key).values(key=renamed))
