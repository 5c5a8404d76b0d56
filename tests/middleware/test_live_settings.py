"""Tests live settings: one record with revisions. The last write wins, an invalid one changes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from middleware.configuration import (
    Configuration,
    LiveSettings,
    NoLiveSettings,
    TableConfiguration,
    open_configuration,
    watch_file,
    watched_file,
)
from middleware.database import Database
from offload.settings import Settings, SettingsError


@pytest.fixture(params=["database", pytest.param("nacos", marks=pytest.mark.nacos)])
def configuration(request: pytest.FixtureRequest, db: Database) -> Configuration:
    url = request.getfixturevalue("nacos_url") if request.param == "nacos" else "file:"
    configuration = open_configuration(url, db, owner=True)
    configuration.create("r", Settings().live(), "layers")
    return configuration


@pytest.fixture
def filed(db: Database) -> TableConfiguration:
    """The configuration that a watched file writes to."""
    configuration = TableConfiguration(db)
    configuration.create("r", Settings().live(), "layers")
    return configuration


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def _now(configuration: Configuration) -> LiveSettings:
    record = configuration.read("r")
    assert record is not None
    return record


def test_the_record_is_created_once_and_a_starting_pod_does_not_change_it(configuration: Configuration) -> None:
    configuration.change("r", {"scheduler.name": "rda"}, "Ada")
    again = configuration.create("r", Settings().live(), "a starting pod")
    assert (again.revision, again.values["scheduler"]["name"], again.written_by) == (2, "rda", "Ada")
    assert configuration.read("another run") is None


def test_a_revision_counts_what_differs(configuration: Configuration) -> None:
    assert _now(configuration).revision == 1
    assert configuration.change("r", {"scheduler.name": "ratc", "log_level": "INFO"}, "Ada").revision == 1
    assert configuration.change("r", {"log_level": "DEBUG"}, "Ada").revision == 2
    assert configuration.change("r", {"scheduler": {"name": "drl", "model": "v1"}}, "Bob").revision == 3
    record = _now(configuration)
    assert record.values == {"scheduler": {"name": "drl", "parameters": {}, "model": "v1"}, "log_level": "DEBUG"}
    assert record.written_by == "Bob"


def test_an_origin_changes_what_it_has_changed_and_undoes_nothing_else(configuration: Configuration) -> None:
    """`helm upgrade` renders all live settings every time. Only those that differ from its last call are to change."""
    helm = {"scheduler": {"name": "ratc", "parameters": {}, "model": None}, "log_level": "INFO"}
    assert configuration.adopt("r", helm, "helm") is None
    configuration.change("r", {"scheduler.name": "sed"}, "Ada")
    assert configuration.adopt("r", helm, "helm") is None
    record = configuration.adopt("r", {**helm, "log_level": "DEBUG"}, "helm")
    assert record is not None and (record.revision, record.written_by) == (3, "helm")
    assert (record.values["scheduler"]["name"], record.values["log_level"]) == ("sed", "DEBUG")
    # a rollback
    assert configuration.adopt("r", helm, "helm") is not None
    assert _now(configuration).values["log_level"] == "INFO"
    # an unchanged value makes no revision, but is stored as the origin's last value
    configuration.change("r", {"scheduler.name": "rda"}, "Ada")
    assert configuration.adopt("r", {**helm, "scheduler": {**helm["scheduler"], "name": "rda"}}, "helm") is None
    assert configuration.adopt("r", helm, "helm") is not None
    assert _now(configuration).values["scheduler"]["name"] == "ratc"
    with pytest.raises(NoLiveSettings, match="another"):
        configuration.adopt("another", helm, "helm")


def test_parameters_belong_to_their_scheduler(configuration: Configuration) -> None:
    configuration.change("r", {"scheduler.name": "sed", "scheduler.parameters.probes": 3}, "Ada")
    configuration.change("r", {"scheduler.parameters.other": 1}, "Ada")
    assert _now(configuration).values["scheduler"]["parameters"] == {"probes": 3, "other": 1}
    # Parameters are replaced whole: otherwise none could be removed.
    configuration.change("r", {"scheduler.parameters": {"probes": 4}}, "Ada")
    assert _now(configuration).values["scheduler"]["parameters"] == {"probes": 4}
    configuration.change("r", {"scheduler": {"name": "sed", "parameters": {}}}, "Ada")
    assert _now(configuration).values["scheduler"]["parameters"] == {}
    configuration.change("r", {"scheduler.parameters.probes": 5}, "Ada")
    configuration.change("r", {"scheduler.name": "rda"}, "Ada")
    assert _now(configuration).values["scheduler"]["parameters"] == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"scheduler.nmae": "rda"},
            r"scheduler\.nmae: is not a setting, did you mean name\? Keys of this section",
        ),
        ({"scheduler.name": ""}, r"scheduler\.name: "),
        ({"log_level": "LOUD"}, "log_level: .*LOUD"),
        ({"network.nodes": 3}, "network: is not a live setting.*scheduler, log_level"),
        ({"colour": "red"}, "colour: is not a live setting"),
        ({"scheduler": "rda"}, "scheduler: "),
        ({"log_level.x": 1}, r"log_level: "),
        ({"scheduler.parameters.probes": [1]}, r"scheduler\.parameters\.probes"),
        ({"scheduler": {"name": "rda"}, "scheduler.name": "sed"}, "twice|as well"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(
    configuration: Configuration, changes: dict[str, object], expected: str
) -> None:
    before = _now(configuration)
    with pytest.raises(SettingsError, match=expected):
        configuration.change("r", {"scheduler.model": "v9", **changes}, "Ada")
    assert _now(configuration) == before


def test_a_change_before_the_record_exists_says_who_makes_it(configuration: Configuration) -> None:
    with pytest.raises(NoLiveSettings, match=r"live settings of run 'other'.*controller"):
        configuration.change("other", {"scheduler.name": "rda"}, "Ada")


def test_writers_at_once_each_get_a_revision_of_their_own(configuration: Configuration) -> None:
    revisions: list[int] = []

    def write(name: str) -> None:
        for count in range(5):
            revisions.append(configuration.change("r", {"scheduler.model": f"{name}-{count}"}, name).revision)

    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(revisions) == list(range(2, 22))


def test_a_watcher_sees_what_is_there_and_every_change_until_it_stops(configuration: Configuration) -> None:
    seen: list[str | None] = []

    def applied(record: LiveSettings) -> None:
        seen.append(record.values["scheduler"]["model"])
        if record.values["scheduler"]["model"] == "bad":
            raise RuntimeError("this model does not fit")

    stop = configuration.watch("r", applied, 0.02)
    _until(lambda: seen == [None])
    configuration.change("r", {"scheduler.model": "bad"}, "Ada")
    _until(lambda: seen == [None, "bad"])
    # A revision that could not be applied does not end the watch: the next one may be valid.
    configuration.change("r", {"scheduler.model": "good"}, "Ada")
    _until(lambda: seen == [None, "bad", "good"])
    stop()
    configuration.change("r", {"scheduler.model": "later"}, "Ada")
    time.sleep(0.1)
    assert seen == [None, "bad", "good"]


# --- the watched file ------------------------------------------------------------------------------------------------


@pytest.fixture
def edited(filed: TableConfiguration, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "experiment.yaml"
    path.write_text("preset: demo\nscheduler: {name: ratc}\n")
    stop = watch_file(filed, "r", path, 0.02)
    _until(lambda: bool(_origins(filed)))
    yield path
    stop()


def _origins(filed: TableConfiguration) -> dict[str, object]:
    import sqlalchemy as sa

    from middleware.database.schema import configuration as table

    with filed._db.reading() as connection:
        return connection.execute(sa.select(table.c.origins)).scalar_one()


def test_an_edit_of_the_file_is_a_write(filed: TableConfiguration, edited: Path) -> None:
    assert _now(filed).revision == 1
    edited.write_text("preset: demo\nscheduler: {name: sed, parameters: {probes: 3}}\n")
    _until(lambda: _now(filed).revision == 2)
    assert _now(filed).values["scheduler"] == {"name": "sed", "parameters": {"probes": 3}, "model": None}
    # The path may be longer than the column.
    assert _now(filed).written_by.startswith("file:")
    assert _now(filed).written_by.endswith("experiment.yaml")
    edited.write_text("preset: demo\nscheduler: {name: sed}\n")
    _until(lambda: _now(filed).revision == 3)
    assert _now(filed).values["scheduler"]["parameters"] == {}


def test_an_unchanged_file_does_not_undo_what_was_set_otherwise(
    filed: TableConfiguration, edited: Path, db: Database
) -> None:
    filed.change("r", {"scheduler.name": "rda"}, "Ada")
    edited.write_text("# a comment\npreset: demo\nscheduler: {name: ratc}\ntasks: {deadline_s: 2 s}\n")
    time.sleep(0.2)
    # A restarted controller reads the file again: the record has what it last read from it.
    stop = watch_file(open_configuration("file:", db), "r", edited, 0.02)
    time.sleep(0.2)
    stop()
    assert (_now(filed).revision, _now(filed).values["scheduler"]["name"]) == (2, "rda")


def test_an_edit_changes_what_was_edited_and_leaves_the_rest(filed: TableConfiguration, edited: Path) -> None:
    filed.change("r", {"scheduler.name": "rda"}, "Ada")
    edited.write_text("preset: demo\nscheduler: {name: ratc}\nlog_level: DEBUG\n")
    _until(lambda: _now(filed).values["log_level"] == "DEBUG")
    assert _now(filed).values["scheduler"]["name"] == "rda"


@pytest.mark.parametrize("wrong", ["scheduler: {nmae: x}", "scheduler: [", "[1, 2]", "network: {nodes: 0}"])
def test_a_wrong_file_is_said_and_the_last_good_one_stays(
    filed: TableConfiguration, edited: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        edited.write_text(wrong)
        _until(lambda: "the last good configuration stays" in caplog.text)
    assert _now(filed).revision == 1
    edited.write_text("scheduler: {name: local}")
    _until(lambda: _now(filed).values["scheduler"]["name"] == "local")


def test_a_file_that_vanishes_and_comes_back_is_read_again(
    filed: TableConfiguration, edited: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edited.unlink()
    _until(lambda: "cannot be read" in caplog.text)
    time.sleep(0.1)
    assert caplog.text.count("cannot be read") == 1
    edited.write_text("scheduler: {name: random}")
    _until(lambda: _now(filed).values["scheduler"]["name"] == "random")


def test_the_watched_file_of_a_url() -> None:
    assert watched_file("file:") is None
    assert watched_file("file:conf/x.yaml") == Path("conf/x.yaml")
    assert watched_file("file:///etc/x.yaml") == Path("/etc/x.yaml")


def test_a_url_without_an_adapter_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match=r"services\.configuration: there is no adapter for 'etcd://x'"):
        open_configuration("etcd://x", db)
