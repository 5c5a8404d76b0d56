"""Tests HDFS that is unavailable, slow, or fails during a write: a file is whole, or the write raises an error."""

from __future__ import annotations

import threading
import time
from urllib.parse import urlsplit

import pytest
from forwarder import Forwarder

from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.storage import hdfs, open_storage
from middleware.storage.hdfs import HdfsStorage

pytestmark = pytest.mark.hdfs


@pytest.fixture
def way(hdfs_url):
    """A forwarder to the name node, and the storage's URL through it."""
    parts = urlsplit(hdfs_url.removeprefix("hdfs+"))
    forwarder = Forwarder(parts.hostname, parts.port)
    yield forwarder, f"hdfs+http://127.0.0.1:{forwarder.port}{parts.path}"
    forwarder.cut()


def test_storage_retries_during_a_short_outage(way) -> None:
    forwarder, url = way
    storage = HdfsStorage(url)
    storage.write("models/a", b"before")
    for act in (
        lambda: storage.write("models/a", b"after"),
        lambda: storage.read("models/a"),
        lambda: storage.list("models"),
    ):
        forwarder.cut()
        timer = threading.Timer(0.5, forwarder.restore)
        timer.start()
        result = act()
        timer.join()
        assert result in (None, b"after", ["models/a"])
    assert storage.read("models/a") == b"after"


def test_long_outage_raises_and_the_old_content_stays(way) -> None:
    forwarder, url = way
    storage = HdfsStorage(url.replace("http://", "http://offload:secret@"), retry_limit_s=0.6)
    storage.write("models/a", b"old")
    forwarder.cut()
    for act in (
        lambda: storage.write("models/a", b"new"),
        lambda: storage.read("models/a"),
        lambda: storage.exists("models/a"),
        lambda: storage.list("models"),
        lambda: storage.delete("models/a"),
    ):
        with pytest.raises(ServiceUnavailable, match=r"has been unavailable for \d+ s") as error:
            act()
        assert "secret" not in str(error.value)
    forwarder.restore()
    assert storage.read("models/a") == b"old"
    assert storage.list("models") == ["models/a"]


def test_a_name_node_that_answers_nothing_is_given_up_on(way, monkeypatch) -> None:
    _, url = way
    listener = __import__("socket").create_server(("127.0.0.1", 0))  # never answers, like a frozen server
    monkeypatch.setattr(hdfs, "READ_TIMEOUT_S", 0.3)
    port = listener.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="ReadTimeout"):
        HdfsStorage(f"hdfs+http://127.0.0.1:{port}/x", retry_limit_s=0.5).read("a")
    assert time.monotonic() - began < 30, "the client's own default is to wait for ever"
    # Of two name nodes, the one that answers is used.
    both = url.replace("hdfs+http://", f"hdfs+http://127.0.0.1:{port},")
    storage = HdfsStorage(both)
    storage.write("a", b"found")
    assert storage.read("a") == b"found"
    listener.close()


def test_an_answer_that_got_lost_does_not_undo_what_was_done(hdfs_url, monkeypatch) -> None:
    from requests import ConnectionError as Broken

    storage = HdfsStorage(hdfs_url)
    storage.write("models/a", b"old")
    client = storage._client()
    for name in ("_rename", "write", "delete"):
        original, lost = getattr(client, name), []

        def once(*arguments, original=original, lost=lost, **options):
            result = original(*arguments, **options)
            if not lost:
                lost.append(True)
                raise Broken("the answer got lost")
            return result

        monkeypatch.setattr(client, name, once)
    storage.write("models/a", b"new")
    assert storage.read("models/a") == b"new"
    assert storage.list("models") == ["models/a"], "nothing is left aside"
    storage.delete("models/a")
    assert not storage.exists("models/a")


@pytest.mark.parametrize("unavailable", ["the data nodes", "one data node"])
def test_repeated_write_errors_are_logged_as_one_outage(hdfs_url, monkeypatch, caplog, unavailable) -> None:
    """The name node answers calls that need no data node. An answer does not end the outage of the data nodes."""
    import requests
    from hdfs.util import HdfsError

    monkeypatch.setattr(hdfs, "_LOG_OUTAGE_AFTER_S", 0.0)
    monkeypatch.setattr("middleware.outages._QUIET_S", 0.5)
    storage = HdfsStorage(hdfs_url)
    write, refusals = storage._client().write, []

    def refuses_every_second(*arguments, **options):
        if len(refusals) % 2 == 0:
            refusals.append(True)
            if unavailable == "one data node":
                requests.put("http://127.0.0.1:9/webhdfs/v1", timeout=5)  # a port without a server
            raise HdfsError("Cannot create file. Name node is in safe mode.", exception="RetriableException")
        refusals.append(False)
        return write(*arguments, **options)

    monkeypatch.setattr(storage._client(), "write", refuses_every_second)
    for number in range(3):
        storage.write(f"models/{number}", b"x")
        storage.list("models")
    logged = [record.getMessage() for record in caplog.records if record.name == "middleware.storage.hdfs"]
    assert [line.count(": unavailable (") for line in logged] == [1], logged
    time.sleep(0.6)
    assert storage.read("models/2") == b"x"
    assert "available again after" in caplog.records[-1].getMessage()


def test_what_hdfs_refuses_is_no_outage(hdfs_url) -> None:
    began = time.monotonic()
    stranger = HdfsStorage(hdfs_url.replace("http://", "http://stranger@"))
    with pytest.raises(ServiceRefused, match="writing models/a"):
        stranger.write("models/a", b"x")
    with pytest.raises(FileNotFoundError):
        HdfsStorage(hdfs_url).read("models/a")
    assert time.monotonic() - began < 15, "an answer that stays the same is not asked for again and again"


@pytest.mark.parametrize("url", ["hdfs+http://", "hdfs+http:///path", "hdfs+http:host", "hdfs+http://u:secret@"])
def test_a_url_of_another_form_is_refused(url) -> None:
    with pytest.raises(ValueError, match=r"not of the form hdfs\+http://") as refused:
        open_storage(url, None)
    assert "secret" not in str(refused.value)


def test_many_threads_share_a_storage(hdfs_url) -> None:
    storage = HdfsStorage(hdfs_url)
    troubles: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for k in range(5):
                storage.write(f"f/{number}", bytes([number, k]) * 1000)
                assert storage.read(f"f/{number}") == bytes([number, k]) * 1000
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert storage.list("f") == [f"f/{number}" for number in range(6)]
