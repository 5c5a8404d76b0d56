"""Tests Nacos: edits in its console, outages, and side effects of its client."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from forwarder import Forwarder

from middleware.configuration import open_configuration
from middleware.configuration.nacos import CONSOLE, NacosConfiguration, _digest, _parsed
from middleware.errors import ServiceUnavailable
from middleware.nacos import NacosServer
from middleware.registry import Instance
from middleware.registry.nacos import NacosRegistry
from offload.settings import Settings

pytestmark = pytest.mark.nacos


def until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.fixture
def console(nacos_url):
    """Reads and edits configurations as Nacos' console does."""
    server = NacosServer(nacos_url, "configuration")

    class Console:
        def content(self) -> dict:
            return json.loads(self.text())

        def text(self) -> str:
            return server.call(
                "reading", lambda client: client.get_config("r.live.json", server.group, no_snapshot=True)
            )

        def write(self, text: str) -> None:
            server.call("writing", lambda client: client.publish_config("r.live.json", server.group, text))

        def edit(self, **keys) -> None:
            self.write(json.dumps({**self.content(), **keys}))

    return Console()


@pytest.fixture
def way(nacos_url):
    """A forwarder to the server, and the URL through it."""
    parts = urlsplit(nacos_url)
    forwarder = Forwarder(parts.hostname, parts.port)
    yield forwarder, f"nacos://offload-tests@127.0.0.1:{forwarder.port}?{parts.query}"
    forwarder.cut()


def test_an_edit_in_the_console_becomes_a_revision_that_every_node_sees(nacos_url, console) -> None:
    owner, node = NacosConfiguration(nacos_url, owner=True), NacosConfiguration(nacos_url)
    owner.create("r", Settings().live(), "layers")
    seen = []
    stops = [node.watch("r", lambda record: seen.append((record.revision, record.values["scheduler"]["name"])), 0.05)]
    until(lambda: seen == [(1, "ratc")])
    console.edit(scheduler={"name": "sed", "parameters": {"d": 3}})
    time.sleep(0.3)
    assert seen == [(1, "ratc")], "only the owner makes revisions; a node goes on with the last good one"
    assert node.read("r").revision == 1
    stops.append(owner.watch("r", lambda record: None, 0.05))
    until(lambda: seen == [(1, "ratc"), (2, "sed")])
    record = owner.read("r")
    assert record.written_by == CONSOLE
    assert record.values["scheduler"] == {"name": "sed", "parameters": {"d": 3}, "model": None}
    assert console.content()["revision"] == 2
    assert owner.change("r", {"scheduler.parameters.d": 4}, "Ada").revision == 3
    for stop in stops:
        stop()


@pytest.mark.parametrize(
    "wrong",
    ["not JSON", "[]", '{"revision": 1, "scheduler": {"nmae": "sed"}}', '{"revision": 1, "log_level": "LOUD"}', "{}"],
)
def test_invalid_edit_is_logged_once_and_changes_nothing(nacos_url, console, caplog, wrong) -> None:
    owner = NacosConfiguration(nacos_url, owner=True)
    first = owner.create("r", Settings().live(), "layers")
    right = console.text()
    console.write(wrong)
    for _ in range(3):
        assert owner.read("r") == first
    assert caplog.text.count("the last good live settings stay") == 1
    console.write(right)
    assert owner.read("r") == first
    console.edit(log_level="DEBUG")
    assert owner.read("r").values["log_level"] == "DEBUG"


def test_outage_is_logged_once_with_its_duration(way, caplog) -> None:
    forwarder, url = way
    configuration, registry = NacosConfiguration(url, owner=True), NacosRegistry(url)
    configuration.create("r", Settings().live(), "layers")
    seen = []
    stop = configuration.watch("r", lambda record: seen.append(record.revision), 0.05)
    until(lambda: seen == [1])
    forwarder.cut()
    until(lambda: ": unavailable (" in caplog.text)
    for act in (
        lambda: configuration.read("r"),
        lambda: configuration.change("r", {"log_level": "DEBUG"}, "Ada"),
        lambda: registry.instances("edgenode"),
        lambda: registry.register(Instance("edgenode", "0", "r", "http://127.0.0.1:1", {}, 0.0)),
    ):
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            act()
    time.sleep(0.3)
    forwarder.restore()
    until(lambda: "available again after" in caplog.text)
    assert caplog.text.count(": unavailable (") == 1, "registry and configuration use the same server"
    assert configuration.change("r", {"log_level": "DEBUG"}, "Ada").revision == 2
    until(lambda: seen == [1, 2])
    stop()


def test_lost_revision_is_rewritten_and_a_restored_one_is_an_edit(way, nacos_url, caplog) -> None:
    forwarder, url = way
    owner, node = NacosConfiguration(url, owner=True), NacosConfiguration(url)
    beside = NacosServer(url_of_group(url, nacos_url), "configuration")
    owner.create("r", Settings().live(), "layers")
    old = beside.call("reading", lambda client: client.get_config("r.live.json", beside.group, no_snapshot=True))
    second = owner.change("r", {"scheduler.name": "sed"}, "Ada")
    assert node.read("r") == second

    beside.call("removing", lambda client: client.remove_config("r.live.json", beside.group))
    assert node.read("r") == second, "the last good one"
    assert owner.read("r") == owner.read("r") == second
    assert "Nacos has lost revision 2 of r; writing it again" in caplog.text

    def publish_old() -> None:
        beside.call(
            "publishing", lambda client: client.publish_config("r.live.json", beside.group, old, config_type="json")
        )

    forwarder.cut()
    with pytest.raises(ServiceUnavailable):
        owner.read("r")
    publish_old()
    forwarder.restore()
    assert owner.read("r") == second, "Nacos was unavailable, and lost the last revision"
    publish_old()
    assert node.read("r") == second
    third = owner.read("r")
    assert (third.revision, third.values["scheduler"]["name"], third.written_by) == (3, "ratc", CONSOLE)
    assert node.read("r") == third


def url_of_group(url: str, nacos_url: str) -> str:
    """The server's own URL, with the group of a URL through a forwarder."""
    return f"{nacos_url.partition('?')[0]}?{url.partition('?')[2]}"


def test_a_server_that_answers_nothing_is_given_up_on(monkeypatch) -> None:
    import socket

    from middleware import nacos

    monkeypatch.setattr(nacos, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable):
            NacosRegistry(f"nacos://127.0.0.1:{frozen.getsockname()[1]}").instances("edgenode")
        assert time.monotonic() - began < 10


def test_nobody_elses_instances_are_taken_for_ours(nacos_url) -> None:
    registry = NacosRegistry(nacos_url)
    server = NacosServer(nacos_url, "registry")
    for metadata in ({}, {"offload": "x"}, {"offload": "[]"}, {"offload": "{}"}):
        server.call(
            "registering",
            lambda client, metadata=metadata: client.add_naming_instance(
                "offload-edgenode", "10.0.0.1", 80 + len(str(metadata)), metadata=metadata, group_name=server.group
            ),
        )
    registry.register(Instance("edgenode", "0", "r", "http://127.0.0.1:1", {}, 0.0))
    assert [one.address for one in registry.instances("edgenode")] == ["http://127.0.0.1:1"]


@pytest.mark.parametrize("url", ["nacos://", "nacos://u:secret@", "nacos://host:1/a/b", "nacos://host?x=1"])
def test_a_url_of_another_form_is_refused(url, tmp_path) -> None:
    with pytest.raises(ValueError, match="not of the form nacos://") as refused:
        open_configuration(url, None)
    assert "secret" not in str(refused.value)


def test_the_client_leaves_nothing_in_the_home_directory_and_no_process(nacos_url, tmp_path) -> None:
    program = f"""
import multiprocessing, logging
from middleware.configuration.nacos import NacosConfiguration
from middleware.registry.nacos import NacosRegistry
from offload.settings import Settings
logging.basicConfig(level=logging.DEBUG)
configuration = NacosConfiguration({nacos_url!r}, owner=True)
configuration.create("r", Settings().live(), "layers")
stop = configuration.watch("r", lambda record: None, 0.05)
NacosRegistry({nacos_url!r}).instances("edgenode")
stop()
assert multiprocessing.active_children() == []
"""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": root, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "accessToken" not in done.stderr


def test_threads_share_a_server(nacos_url) -> None:
    registry = NacosRegistry(nacos_url)
    troubles: list[BaseException] = []

    def work(number: int) -> None:
        try:
            own = Instance("edgenode", str(number), "r", f"http://127.0.0.1:{number + 1}", {}, 0.0)
            registry.register(own)
            for count in range(5):
                registry.heartbeat(replace(own, metadata={"count": count}))
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert [one.metadata for one in registry.instances("edgenode", "r")] == [{"count": 4}] * 8
    assert logging.getLogger("nacos").level == logging.CRITICAL


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "{}",
        *(
            json.dumps({**live, "digest": _digest(live), "written_by": "x", "written_at": 1.0, "revision": 1, **wrong})
            for live, wrong in (
                ({"scheduler": {"name": "sed"}, "log_level": "INFO"}, {"revision": float("inf")}),
                ({"scheduler": {"name": "sed"}, "log_level": "INFO"}, {"written_at": 10**400}),
                ({"scheduler": "sed", "log_level": "INFO"}, {}),
                ({"scheduler": {"name": 7}, "log_level": "INFO"}, {}),
            )
        ),
    ],
)
def test_what_no_program_of_ours_wrote_is_no_record(content) -> None:
    assert _parsed(content) is None


def test_a_record_of_a_version_with_another_name_is_moved(nacos_url) -> None:
    server = NacosServer(nacos_url, "configuration")
    before = NacosConfiguration(nacos_url, owner=True)
    before.create("r", Settings().live(), "layers")
    before.change("r", {"scheduler.name": "sed"}, "Ada")
    text = server.call("reading", lambda client: client.get_config("r.live.json", server.group, no_snapshot=True))
    server.call("writing", lambda client: client.publish_config("r.hot.json", server.group, text))
    server.call("removing", lambda client: client.remove_config("r.live.json", server.group))

    record = NacosConfiguration(nacos_url, owner=True).create("r", Settings().live(), "layers")
    assert (record.revision, record.values["scheduler"]["name"], record.written_by) == (2, "sed", "Ada")
    seen = NacosConfiguration(nacos_url).read("r")
    assert seen is not None and seen.revision == 2
    assert former_of(server) is None
    server.call("writing", lambda client: client.publish_config("r.hot.json", server.group, text))
    again = NacosConfiguration(nacos_url, owner=True).create("r", Settings().live(), "layers")
    assert again == record, "a controller of that version was still running, and wrote it once more"
    assert former_of(server) is None


def former_of(server: NacosServer) -> str | None:
    return server.call("reading", lambda client: client.get_config("r.hot.json", server.group, no_snapshot=True))


def test_an_edit_of_a_record_with_the_former_name_is_not_lost(nacos_url, caplog) -> None:
    """No controller had noticed the edit before the record was moved."""
    server = NacosServer(nacos_url, "configuration")
    live = Settings().live()
    record = {**live, "revision": 7, "written_by": "Ada", "written_at": 1.0, "origins": {"helm": live}}
    edit = json.dumps({**record, "digest": _digest(live), "scheduler": {"name": "sed", "parameters": {"d": 3}}})
    for content in ("not JSON", edit):
        server.call(
            "writing", lambda client, content=content: client.publish_config("r.hot.json", server.group, content)
        )
        server.call("removing", lambda client: client.remove_config("r.live.json", server.group))
        found = NacosConfiguration(nacos_url, owner=True).create("r", live, "layers")
        if content == "not JSON":
            assert (found.revision, former_of(server)) == (1, content)
            assert "the edit of r.hot.json in Nacos is wrong; it is not used" in caplog.text
            NacosConfiguration(nacos_url, owner=True).create("r", live, "layers")
            assert former_of(server) == content, "what was not used is kept"
    assert (found.revision, found.written_by, found.origins) == (8, CONSOLE, {"helm": live})
    assert found.values["scheduler"] == {"name": "sed", "parameters": {"d": 3}, "model": None}
    assert former_of(server) is None
