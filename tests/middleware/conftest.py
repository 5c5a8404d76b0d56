"""Fixtures that run every test of a port on each of its adapters. (`mysql_url`: tests/conftest.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_episodes import NODES, SLOTS

from middleware.database import Database, Run, create_run
from middleware.storage import Storage, open_storage
from offload.network import draw_network
from offload.settings import resolve_settings

DATABASES = ["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "mysql":
        return request.getfixturevalue("mysql_url")
    return f"sqlite:///{tmp_path}/offload.db"


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    database = Database.connect(database_url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def run(db: Database) -> Run:
    """A small run."""
    settings = resolve_settings([{"network": {"nodes": NODES}, "time": {"slots": SLOTS}}])
    return create_run(db, "small", settings, draw_network(settings.network, settings.seed), {"python": "3"})


@pytest.fixture(params=["folder", *DATABASES, pytest.param("hdfs", marks=pytest.mark.hdfs)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage: a folder, blobs in each kind of database, or a folder of HDFS."""
    if request.param == "hdfs":
        yield open_storage(request.getfixturevalue("hdfs_url"), None)
        return
    if request.param == "folder":
        yield open_storage(f"file:{tmp_path}/storage", None)
        return
    url = request.getfixturevalue("mysql_url") if request.param == "mysql" else f"sqlite:///{tmp_path}/blobs.db"
    database = Database.connect(url)
    database.migrate()
    yield open_storage("database:", database)
    database.close()
