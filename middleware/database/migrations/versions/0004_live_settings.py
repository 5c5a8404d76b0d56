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
    """Rename the keys that begin with `old`.

    If a run has both keys, the row with the higher revision stays, because each change raises the revision. If the
    revisions are equal, `live/<run>` stays, because the later version of the testbed wrote it. The other row
    is deleted.
    """
    connection = op.get_bind()
    configuration = sa.table("configuration", sa.column("key"), sa.column("revision"))
    rows = connection.execute(sa.select(configuration.c.key, configuration.c.revision)).all()
    revisions = {str(key): int(revision) for key, revision in rows}
    for key in [key for key in revisions if key.startswith(old)]:
        renamed = new + key.removeprefix(old)
        stays = key
        if renamed in revisions:
            stays = max(key, renamed, key=lambda name: (revisions[name], name.startswith(_NOW)))
            deleted = renamed if stays == key else key
            connection.execute(sa.delete(configuration).where(configuration.c.key == deleted))
        if stays == key:
            connection.execute(sa.update(configuration).where(configuration.c.key == key).values(key=renamed))
