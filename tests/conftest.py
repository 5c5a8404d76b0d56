"""Fixtures for tests of several packages: real servers, found by environment variables."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

SERVER = "OFFLOAD_TEST_MYSQL_URL"
HDFS = "OFFLOAD_TEST_HDFS_URL"
NACOS = "OFFLOAD_TEST_NACOS_URL"


@pytest.fixture
def mysql_url() -> Iterator[str]:
    """A new, empty database on the server of OFFLOAD_TEST_MYSQL_URL; dropped afterwards."""
    if not os.environ.get(SERVER):
        pytest.skip(f"{SERVER} is not set: no MySQL or MariaDB server to test against")
    server = sa.make_url(os.environ[SERVER])
    name = f"offload_test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


@pytest.fixture
def hdfs_url() -> Iterator[str]:
    """The URL of an empty folder in the HDFS of OFFLOAD_TEST_HDFS_URL; deleted afterwards."""
    if not os.environ.get(HDFS):
        pytest.skip(f"{HDFS} is not set: no HDFS to test against")
    from hdfs import InsecureClient

    host, _, root = os.environ[HDFS].removeprefix("hdfs+").partition("//")[2].partition("/")
    folder = f"/{root.rstrip('/')}/test-{uuid.uuid4().hex[:12]}"
    yield f"hdfs+http://{host}{folder}"
    InsecureClient(f"http://{host}", user="offload", timeout=(3, 10)).delete(folder, recursive=True)


@pytest.fixture
def nacos_url() -> str:
    """The URL of an empty group of the Nacos server of OFFLOAD_TEST_NACOS_URL."""
    if not os.environ.get(NACOS):
        pytest.skip(f"{NACOS} is not set: no Nacos to test against")
    return f"{os.environ[NACOS]}?group=test-{uuid.uuid4().hex[:12]}"
