"""Tests that files are either whole or missing, and that a model damaged in transit is never used."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from middleware.database import Database, Run, find_models, record_model
from middleware.errors import ServiceRefused, ServiceUnavailable, ValueRefused
from middleware.storage import Storage, fetch_model, model_folder, open_storage, publish_model
from offload.manifest import ACTOR_FILE, LEARNER_FILE, MANIFEST_FILE, ManifestError

FIELDS = {"version": "v1", "algorithm": "ppo", "profile": {"name": "paper"}, "actions": 4, "observation_size": 7}


def test_what_is_written_is_read(storage: Storage) -> None:
    # 2.5 MiB: a database stores blobs in parts of 1 MiB.
    for content in (b"", b"\0\xff" * 10, os.urandom(5 * 2**19)):
        storage.write("buffers/run/part-0", content)
        assert storage.read("buffers/run/part-0") == content


def test_a_shorter_file_replaces_a_longer_one_whole(storage: Storage) -> None:
    storage.write("a/b", b"x" * (3 * 2**20))
    storage.write("a/b", b"short")
    assert storage.read("a/b") == b"short"


def test_a_file_that_is_not_there(storage: Storage) -> None:
    assert not storage.exists("a/b")
    with pytest.raises(FileNotFoundError, match="a/b"):
        storage.read("a/b")
    storage.delete("a/b")
    assert storage.list("a") == []


def test_listing_and_deleting(storage: Storage) -> None:
    for path in ("models/r/v2/x", "models/r/v1/y", "models/r_/z", "models/R/z", "models/r0", "reports/r"):
        storage.write(path, b"1")
    assert storage.list("models/r") == ["models/r/v1/y", "models/r/v2/x"]
    assert "models/R/z" in storage.list("models")
    storage.delete("models/r/v1/y")
    assert not storage.exists("models/r/v1/y")
    assert storage.list("models/r") == ["models/r/v2/x"]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a\\b", "a/", "a\0", "a/#LATEST", "x" * 513]
)
def test_a_path_that_leaves_the_storage_is_refused(storage: Storage, path: str) -> None:
    for attempt in (lambda: storage.write(path, b"x"), lambda: storage.read(path), lambda: storage.delete(path)):
        with pytest.raises(ValueError, match="path in the storage"):
            attempt()


def test_a_reader_sees_the_old_or_the_new_content_nothing_between(storage: Storage) -> None:
    contents = [bytes([letter]) * (2**20 + 10) for letter in b"ab"]
    storage.write("f/x", contents[0])
    stopping = threading.Event()
    troubles: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(20):
                for content in contents:
                    storage.write("f/x", content)
        except BaseException as error:
            troubles.append(error)
        finally:
            stopping.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stopping.is_set():
        assert storage.read("f/x") in contents
    writer.join()
    assert troubles == []
    assert storage.list("f") == ["f/x"]


def test_a_folder_that_pods_share_is_readable_by_the_others(tmp_path: Path) -> None:
    storage = open_storage(f"file:{tmp_path}/storage", None)
    storage.write("a/b", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "plain", tmp_path / "storage/a/b")]
    assert modes[0] == modes[1]


def test_a_write_that_breaks_off_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"file:{tmp_path}", None)
    storage.write("a/b", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ServiceUnavailable, match="No space left"):
        storage.write("a/b", b"new")
    assert storage.read("a/b") == b"old"
    assert storage.list("a") == ["a/b"]
    assert os.listdir(tmp_path / "a") == ["b"]


def test_what_a_folder_never_takes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = open_storage(f"file:{tmp_path}/file/below", None)
    with pytest.raises(ServiceRefused, match=r"writing a/b: the storage .*: Not a directory"):
        storage.write("a/b", b"x")
    assert not storage.exists("a/b") and storage.list("a") == []
    for path in ("a/b", "n" * 300):
        with pytest.raises(FileNotFoundError, match=path):
            storage.read(path)


def test_a_url_without_an_adapter_is_refused() -> None:
    for url in ("s3://bucket", "file:"):
        with pytest.raises(ValueError, match=r"services\.storage: there is no adapter"):
            open_storage(url, None)
    with pytest.raises(ValueError, match="needs a database"):
        open_storage("database:", None)


# --- models -------------------------------------------------------------------------------------------------------


def _published(storage: Storage) -> None:
    publish_model(storage, "run", FIELDS, {ACTOR_FILE: b"actor", LEARNER_FILE: b"learner"})


def test_a_published_model_is_fetched_and_verified(storage: Storage) -> None:
    _published(storage)
    manifest, files = fetch_model(storage, "run", "v1", (ACTOR_FILE, LEARNER_FILE))
    assert files == {ACTOR_FILE: b"actor", LEARNER_FILE: b"learner"}
    assert manifest.files[ACTOR_FILE].size == 5
    assert list(fetch_model(storage, "run", "v1")[1]) == [ACTOR_FILE]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (ACTOR_FILE, b"act", "actor.onnx has 3 bytes, its manifest says 5: truncated"),
        (ACTOR_FILE, b"ACTOR", "actor.onnx does not have the SHA-256"),
        (MANIFEST_FILE, b'{"version": "v1"}', "manifest.json is not a manifest: algorithm"),
        (MANIFEST_FILE, b'{"versi', "manifest.json is not a manifest"),
    ],
)
def test_a_damaged_model_is_refused(storage: Storage, name: str, content: bytes, expected: str) -> None:
    _published(storage)
    storage.write(f"{model_folder('run', 'v1')}/{name}", content)
    with pytest.raises(ManifestError, match=expected):
        fetch_model(storage, "run", "v1")


def test_a_manifest_of_another_version_is_refused(storage: Storage) -> None:
    _published(storage)
    for file in (ACTOR_FILE, MANIFEST_FILE):
        storage.write(f"{model_folder('run', 'v2')}/{file}", storage.read(f"{model_folder('run', 'v1')}/{file}"))
    with pytest.raises(ManifestError, match="is of version v1, not v2"):
        fetch_model(storage, "run", "v2")


def test_a_publication_that_broke_off_does_not_exist(storage: Storage) -> None:
    """The manifest is written last. Without it the files belong to no model, and publishing again repairs them."""
    _published(storage)
    storage.delete(f"{model_folder('run', 'v1')}/{MANIFEST_FILE}")
    with pytest.raises(ManifestError, match="there is no model v1 of run 'run'"):
        fetch_model(storage, "run", "v1")
    _published(storage)
    fetch_model(storage, "run", "v1")


def test_a_missing_file_is_named(storage: Storage) -> None:
    _published(storage)
    storage.delete(f"{model_folder('run', 'v1')}/{ACTOR_FILE}")
    with pytest.raises(ManifestError, match=r"model v1: actor\.onnx is missing"):
        fetch_model(storage, "run", "v1")


def test_a_manifest_is_json_for_people_too(storage: Storage) -> None:
    _published(storage)
    assert json.loads(storage.read(f"{model_folder('run', 'v1')}/{MANIFEST_FILE}"))["algorithm"] == "ppo"


def test_recorded_models_come_in_the_order_in_which_they_were_made(db: Database, run: Run, tmp_path: Path) -> None:
    storage = open_storage(f"file:{tmp_path}", None)
    for number, version in ((2, "on-2"), (10, "on-10"), (1, "on-1")):
        manifest = publish_model(storage, run.name, {**FIELDS, "version": version}, {ACTOR_FILE: b"actor"})
        record_model(db, run, manifest, phase="online", method="o2o-drl", number=number, statistics={"loss": 0.5})
    other = publish_model(storage, run.name, {**FIELDS, "version": "off"}, {ACTOR_FILE: b"actor"})
    record_model(db, run, other, phase="offline", method="offline-only", number=400, statistics={})
    record_model(db, run, manifest, phase="online", method="o2o-drl", number=1, statistics={"loss": 0.25})
    rows = find_models(db, run, method="o2o-drl")
    assert [row.version for row in rows] == ["on-1", "on-2", "on-10"]
    assert rows[0].statistics == {"loss": 0.25}
    assert rows[0].manifest == manifest
    assert len(find_models(db, run)) == 4


def test_statistics_that_are_not_numbers_are_refused_on_every_database(db: Database, run: Run, tmp_path: Path) -> None:
    manifest = publish_model(open_storage(f"file:{tmp_path}", None), run.name, FIELDS, {ACTOR_FILE: b"actor"})
    with pytest.raises(ValueRefused) as refused:
        record_model(db, run, manifest, phase="online", method="m", number=1, statistics={"loss": float("nan")})
    assert "not JSON compliant" in refused.value.service_message
