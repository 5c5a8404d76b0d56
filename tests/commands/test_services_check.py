"""Tests that `offload services check` says for each service whether a run can use it, and what is wrong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from commands.main import app
from middleware.database import Database
from middleware.registry.nacos import NacosRegistry


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(**urls):
        environment = {f"OFFLOAD_SERVICES__{name.upper()}": url for name, url in urls.items()}
        result = CliRunner().invoke(app, ["services", "check", "--json"], env=environment)
        assert result.exit_code in (0, 1), result.output
        found = {one["service"]: one for one in json.loads(result.stdout)["services"]}
        assert list(found) == ["database", "storage", "registry", "configuration"]
        assert result.exit_code == (0 if all(one["fine"] for one in found.values()) else 1)
        return found

    return call


def test_services_check_before_the_first_run_creates_nothing(check, tmp_path) -> None:
    found = check()
    assert all(one["fine"] for one in found.values()), found
    assert found["database"]["version"] == "SQLite, created by the first run"
    assert not (tmp_path / ".offload" / "offload.db").exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("storage", ["file:files", "database:"])
def test_services_that_answer_say_their_version_and_how_quickly(check, tmp_path, storage) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/x.db")
    database.migrate()
    database.close()
    found = check(database=f"sqlite:///{tmp_path}/x.db", storage=storage)
    for one in found.values():
        assert one["fine"], one
        assert one["version"]
        assert 0 < one["latency_s"] < 5
    assert found["database"]["version"].startswith("SQLite 3.")


@pytest.mark.mysql
@pytest.mark.hdfs
@pytest.mark.nacos
def test_servers_are_used_as_a_run_does(check, mysql_url, hdfs_url, nacos_url) -> None:
    nacos = check(database=mysql_url, registry=nacos_url, configuration=nacos_url)
    for service in ("registry", "configuration"):
        assert nacos[service]["fine"], nacos
        assert nacos[service]["version"].startswith("Nacos")
    unavailable = check(registry="nacos://127.0.0.1:1", configuration="nacos://127.0.0.1:1")
    assert "does not answer" in unavailable["registry"]["problem"]
    assert "does not answer" in unavailable["configuration"]["problem"]
    empty = check(database=mysql_url, storage=hdfs_url)
    assert all(one["fine"] for one in empty.values()), empty
    assert "its tables are created by the first run" in empty["database"]["version"]
    assert empty["storage"]["version"].startswith("HDFS 3.")
    Database.connect(mysql_url).migrate()
    found = check(database=mysql_url, storage=hdfs_url)
    assert found["registry"]["version"].startswith(("a table of MariaDB ", "a table of MySQL "))
    assert "offload:offload@" not in json.dumps(found)


@pytest.mark.nacos
def test_a_check_may_follow_another_and_leaves_nothing_behind(check, nacos_url) -> None:
    for _ in range(4):
        found = check(registry=nacos_url, configuration=nacos_url)
        assert found["registry"]["fine"], found["registry"]
        assert NacosRegistry(nacos_url).instances("check") == []


def test_services_check_messages_contain_no_passwords(check, tmp_path) -> None:
    (tmp_path / "foreign.db").touch()
    database = Database.connect(f"sqlite:///{tmp_path}/foreign.db")
    with database.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (a INTEGER)")
    database.close()
    (tmp_path / "live.yaml").write_text("scheduler: {name: }\n")
    (tmp_path / "file").touch()
    found = check(
        database=f"sqlite:///{tmp_path}/foreign.db",
        storage=f"file:{tmp_path}/file/below",
        configuration="file:live.yaml",
    )
    assert "belong to another program" in found["database"]["problem"]
    assert "Not a directory" in found["storage"]["problem"]
    assert "live.yaml:1:18: `name` has no value" in found["configuration"]["problem"]
    gone = check(database="mysql+pymysql://offload:secret@127.0.0.1:1/offload", storage="file:files")
    assert "Can't connect" in gone["database"]["problem"]
    assert gone["storage"]["fine"]
    assert "secret" not in json.dumps(gone)


def test_people_see_a_table(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["services", "check", "--set", "services.configuration=file:absent.yaml"])
    assert result.exit_code == 1
    assert "WRONG" in result.output
    assert "configuration:" in result.output
    assert "absent.yaml" in result.output
