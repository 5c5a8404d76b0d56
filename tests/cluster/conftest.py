"""Fixtures of the tests on a real cluster. The tests run in order: each uses the release that the previous one left."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from experiment import EXPERIMENT, SHORT
from releases import KUBECTL, TRAINER_IMAGE, Release, call, namespace

NEEDED = "OFFLOAD_TEST_CLUSTER"
SERVERS = ("OFFLOAD_TEST_CLUSTER_MYSQL_URL", "OFFLOAD_TEST_CLUSTER_HDFS_URL", "OFFLOAD_TEST_CLUSTER_NACOS_URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests, with a reason, if there is no cluster or not everything that they need."""
    for item in items:
        if "cluster" not in item.path.parts:
            continue
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.timeout(900))
        if not os.environ.get(NEEDED):
            item.add_marker(pytest.mark.skip(reason=f"{NEEDED} is not set: no Kubernetes to test on"))
        elif item.get_closest_marker("whole") and (SHORT or not TRAINER_IMAGE):
            item.add_marker(
                pytest.mark.skip(reason="the short form, or no trainer's image (OFFLOAD_TEST_TRAINER_IMAGE)")
            )


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    """A namespace that accepts only pods of the Pod Security Standard `restricted`."""
    with namespace(f"offload-e2e-{uuid.uuid4().hex[:6]}") as name:
        yield name


@pytest.fixture(scope="module")
def database_url(space: str) -> Iterator[str]:
    """An empty database on the server of OFFLOAD_TEST_CLUSTER_MYSQL_URL; dropped afterwards."""
    if not os.environ.get(SERVERS[0]):
        pytest.skip(f"{SERVERS[0]} is not set: no server that the cluster's pods could reach")
    server, name = sa.make_url(os.environ[SERVERS[0]]), space.replace("-", "_")
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


@pytest.fixture(scope="module")
def services(space: str, database_url: str) -> dict[str, Any]:
    """Values for real servers outside the chart; their password is in a Secret."""
    for name in SERVERS[1:]:
        if not os.environ.get(name):
            pytest.skip(f"{name} is not set: no server that the cluster's pods could reach")
    mysql = sa.make_url(database_url)
    hdfs, nacos = (urlsplit(os.environ[name].removeprefix("hdfs+")) for name in SERVERS[1:])
    call(KUBECTL, "-n", space, "create", "secret", "generic", "database", f"--from-literal=password={mysql.password}")
    ports = [int(port) for port in os.environ.get("OFFLOAD_TEST_CLUSTER_HDFS_PORTS", f"{hdfs.port},9864").split(",")]
    return {
        "mysql": {
            "enabled": False, "host": mysql.host, "port": mysql.port, "user": mysql.username,
            "database": mysql.database, "existingSecret": "database",
        },
        "hdfs": {"enabled": False, "url": f"hdfs+http://offload@{hdfs.netloc}{hdfs.path}/{space}", "ports": ports},
        "nacos": {"enabled": False, "url": f"nacos://{nacos.netloc}?group={space}", "port": nacos.port},
    }  # fmt: skip


@pytest.fixture(scope="module")
def release(space: str, services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release of a module's tests. The first of them installs it, the last one removes it."""
    folder: Path = tmp_path_factory.mktemp("release")
    return Release("e2e", space, {"settings": EXPERIMENT, "node": {"leavingSeconds": 20}, **services}, folder)
