"""Tests that databases of other versions or applications are rejected, and that tables are created once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from middleware.configuration import watched_file
from middleware.database import Database, SchemaError, migrations
from middleware.database.schema import metadata
from middleware.errors import ServiceUnavailable
from middleware.storage import open_storage
from offload.settings import Settings, SettingsError


def test_migrations_make_the_tables_that_the_code_uses(db: Database) -> None:
    with db.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    # Comments are only in schema.py.
    flat = [item for each in differences for item in (each if isinstance(each, list) else [each])]
    assert [item for item in flat if "comment" not in item[0]] == []


def test_every_migration_is_known_to_the_check() -> None:
    # A script that is missing there would be rejected as "newer" at every start.
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(migrations.KNOWN)


def test_migrating_twice_changes_nothing_and_passes_the_check(db: Database) -> None:
    db.migrate()
    db.check_schema()


def test_a_downgrade_removes_every_table(db: Database) -> None:
    from alembic import command

    config = migrations._config()
    with db.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with db.reading() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    db.migrate()
    db.check_schema()


def test_runs_and_episodes_of_an_older_database_get_identities_of_their_own(db: Database) -> None:
    from alembic import command

    config = migrations._config()
    with db.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        for name in ("first", "second"):
            connection.execute(
                sa.text(
                    "INSERT INTO runs (name, settings, services, versions, created_at)"
                    " VALUES (:name, '{}', '{}', '{}', 0)"
                ),
                {"name": name},
            )
        for episode in (1, 2):
            connection.execute(
                sa.text(
                    "INSERT INTO episodes (run, episode, phase, method, trace, scheduler, parameters, revision, status,"
                    " down, late_slots, refused_records, opened_at)"
                    " SELECT MIN(id), :episode, 'serve', 'sed', 0, 'sed', '{}', 1,"
                    " 'closed', '{}', 0, 0, 0 FROM runs"
                ),
                {"episode": episode},
            )
    db.migrate()
    with db.reading() as connection:
        for table in ("runs", "episodes"):
            uids = connection.execute(sa.text(f"SELECT uid FROM {table}")).scalars().all()
            assert len(set(uids)) == 2
            assert {len(uid) for uid in uids} == {32}


def test_the_live_settings_of_an_older_database_are_found(db: Database) -> None:
    from alembic import command

    from middleware.configuration import open_configuration

    settings = open_configuration("file:", db)
    settings.create("r", Settings().live(), "layers")
    settings.change("r", {"scheduler.name": "sed"}, "Ada")
    config = migrations._config()
    with db.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        keys = connection.execute(sa.text("SELECT `key` FROM configuration")).scalars().all()
        assert keys == ["hot/r"]
    db.migrate()
    record = settings.read("r")
    assert record is not None
    assert (record.revision, record.values["scheduler"]["name"]) == (2, "sed")


@pytest.mark.parametrize(("old", "new", "kept"), [(3, 2, "hot"), (2, 2, "live"), (2, 3, "live")])
def test_of_two_live_settings_of_a_run_the_latest_stay(db: Database, old: int, new: int, kept: str) -> None:
    from alembic import command

    config = migrations._config()
    with db.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        for name, revision in (("hot", old), ("live", new)):
            connection.execute(
                sa.text("INSERT INTO configuration VALUES (:key, :revision, '{}', '{}', :by, 0)"),
                {"key": f"{name}/a", "revision": revision, "by": name},
            )
    db.migrate()
    db.check_schema()
    with db.reading() as connection:
        rows = connection.execute(sa.text("SELECT `key`, revision, written_by FROM configuration")).all()
    assert rows == [("live/a", max(old, new), kept)]


def test_two_schema_versions_are_refused_and_nothing_is_changed(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('0003')"))
    for attempt in (db.check_schema, db.migrate):
        with pytest.raises(
            SchemaError, match=r"several schema versions \(0003, 0004\).*alembic_version.*delete"
        ) as bad:
            attempt()
        assert len(str(bad.value).splitlines()) == 1
    with db.transaction() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version WHERE version_num = '0003'"))
    db.check_schema()


def test_an_empty_database_is_refused_with_the_command_that_helps(database_url: str) -> None:
    with pytest.raises(SchemaError, match=r"no tables yet.*offload database migrate"):
        Database.connect(database_url).check_schema()


@pytest.fixture
def myisam_url(mysql_url: str) -> str:
    """An empty database on a server whose default engine is MyISAM."""
    return f"{mysql_url}?init_command=SET%20SESSION%20default_storage_engine%3DMyISAM"


@pytest.mark.mysql
def test_tables_have_transactions_whatever_the_servers_default_is(myisam_url: str) -> None:
    db = Database.connect(myisam_url)
    with db.reading() as connection:
        assert connection.execute(sa.text("SELECT @@SESSION.default_storage_engine")).scalar_one() == "MyISAM"
    db.migrate()
    db.check_schema()
    with db.reading() as connection:
        tables = sa.text("SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")
        engines = dict(connection.execute(tables).all())
    assert {*metadata.tables, "alembic_version"} == set(engines)
    assert set(engines.values()) == {"InnoDB"}
    db.close()


@pytest.mark.mysql
def test_tables_without_transactions_are_refused_with_a_fix(myisam_url: str) -> None:
    db = Database.connect(myisam_url)
    db.migrate()
    with db.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE configuration ENGINE=MyISAM"))
    for attempt in (db.check_schema, db.migrate):
        with pytest.raises(SchemaError, match=r"keeps configuration in MyISAM.*`ALTER TABLE … ENGINE=InnoDB`"):
            attempt()
    with db.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE configuration ENGINE=InnoDB"))
    db.check_schema()
    db.close()


def test_a_newer_database_is_neither_used_nor_changed(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (db.check_schema, db.migrate):
        with pytest.raises(SchemaError, match=f"schema 9999.*{migrations.HEAD}.*newer version"):
            attempt()


def test_a_database_of_another_application_is_not_touched(database_url: str) -> None:
    db = Database.connect(database_url)
    with db.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE customers (id INTEGER)"))
    for attempt in (db.check_schema, db.migrate):
        with pytest.raises(SchemaError, match=r"customers.*another program.*empty database"):
            attempt()
    with db.reading() as connection:
        assert sa.inspect(connection).get_table_names() == ["customers"]


def test_simultaneous_processes_migrate_a_fresh_database(database_url: str) -> None:
    program = (
        "import sys; from middleware.database import Database; db = Database.connect(sys.argv[1]); "
        "db.migrate(); db.check_schema()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    troubles = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 6, troubles


def test_the_password_of_a_database_is_not_in_messages() -> None:
    db = Database.connect("mysql+pymysql://root:Geheim-7@127.0.0.1:1/offload")
    assert "Geheim-7" not in repr(db)
    with pytest.raises(ServiceUnavailable) as unavailable:
        db.check_schema()
    assert "Geheim-7" not in unavailable.value.in_full


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_other_processes_could_not_see_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"services\.database: sqlite needs a file"):
        Database.connect(url)


def test_a_path_below_the_home_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Database.connect("sqlite:///~/x.db").migrate()
    assert (tmp_path / "home/x.db").is_file()
    open_storage("file:~/files", None).write("a/b", b"1")
    assert (tmp_path / "home/files/a/b").is_file()
    assert watched_file("file:~/live.yaml") == tmp_path / "home/live.yaml"
    assert list((tmp_path / "here").iterdir()) == []
    for use in (Database.connect, lambda url: open_storage(url.replace("sqlite:///", "file:"), None)):
        with pytest.raises(SettingsError, match=r"services\.\w+: '~nobody-here/x.db': there is no such home directory"):
            use("sqlite:///~nobody-here/x.db")


def test_a_relative_path_is_made_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Database.connect("sqlite:///somewhere/new/offload.db").migrate()
    assert (tmp_path / "somewhere/new/offload.db").is_file()
