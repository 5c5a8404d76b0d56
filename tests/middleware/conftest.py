"""Every test of a port runs on each of its adapters. MySQL tests get a database of their own on the given server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from recorded_episodes import NODES, SLOTS

from middleware.database import Database, Run, create_run
from middleware.storage import Storage, open_storage
from offload.network import draw_network
from offload.settings import resolve_settings

SERVER = "OFFLOAD_TEST_MYSQL_URL"
DATABASES = ["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)]


@pytest.fixture
def mysql_url() -> Iterator[str]:
    """A fresh, empty database on the server of OFFLOAD_TEST_MYSQL_URL; dropped afterwards."""
    if not os.environ.get(SERVER):
        pytest.skip(f"{SERVER} is not set")
    server = sa.make_url(os.environ[SERVER])
    name = f"offload_test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


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


@pytest.fixture(params=["folder", *DATABASES])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage: a folder, or blobs in either database."""
    if request.param == "folder":
        yield open_storage(f"file:{tmp_path}/storage", None)
        return
    url = request.getfixturevalue("mysql_url") if request.param == "mysql" else f"sqlite:///{tmp_path}/blobs.db"
    database = Database.connect(url)
    database.migrate()
    yield open_storage("database:", database)
    database.close()
