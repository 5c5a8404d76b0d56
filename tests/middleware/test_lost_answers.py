"""Tests a COMMIT that succeeds but whose answer is lost: the retry must not repeat the write."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from recorded_episodes import NODES, SLOTS, decisions_of, outcomes_of, uid_of

from middleware.configuration import open_configuration
from middleware.database import (
    Database,
    Run,
    abort_episode,
    close_episode,
    create_run,
    find_episodes,
    load_network,
    open_episode,
    record_model,
    write_records,
)
from middleware.database.schema import metadata
from middleware.errors import ServiceUnavailable
from middleware.registry import Instance, open_registry
from middleware.retrying import retry_while_unavailable
from middleware.storage import open_storage
from offload import draw_network, draw_trace, resolve_settings
from offload.episodes import EpisodePlan
from offload.manifest import ModelManifest
from offload.scheduler_choice import SchedulerChoice

PLAN = EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc"))
SETTINGS = resolve_settings([{"network": {"nodes": NODES}, "time": {"slots": SLOTS}}])
INSTANTS = {"created_at", "heartbeat_at"}
"""A model that is recorded again was made again; a process that registers again is alive again."""
INSTANCE = Instance("edgenode", "0", "small", "http://127.0.0.1:1", {"ready": True}, 1.0)


class Lossy:
    """A real database that loses the answers to the next `lose` COMMITs."""

    def __init__(self, url: str) -> None:
        self.url, self.lose = url, 0


class _Way(Lossy):
    """A forwarder to a MySQL server. It breaks the connection when the answer to a COMMIT is lost."""

    def __init__(self, url: str) -> None:
        server = sa.make_url(url)
        self._target = server.host, server.port or 3306
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        super().__init__(server.set(host="127.0.0.1", port=port).render_as_string(hide_password=False))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._relay, args=(here, socket.create_connection(self._target)), daemon=True
            ).start()

    def _relay(self, here: socket.socket, there: socket.socket) -> None:
        losing = False
        with here, there:
            while True:
                ready = select.select([here, there], [], [])[0]
                if there in ready:
                    answer = there.recv(65536)
                    if losing or not answer:
                        return
                    here.sendall(answer)
                if here in ready:
                    request = here.recv(65536)
                    if not request:
                        return
                    if request[4:] == b"\x03COMMIT" and self.lose > 0:
                        self.lose -= 1
                        losing = True
                    there.sendall(request)


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def lossy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lossy]:
    """MariaDB behind a forwarder; or SQLite, where an error is raised after the commit, like a disk that fails then."""
    if request.param == "mysql":
        way = _Way(request.getfixturevalue("mysql_url"))
        yield way
        way.close()
        return
    made, transaction = Lossy(f"sqlite:///{tmp_path}/offload.db"), Database.transaction

    @contextmanager
    def losing(self: Database) -> Iterator[sa.Connection]:
        with transaction(self) as connection:
            yield connection
        if made.lose > 0:
            made.lose -= 1
            raise ServiceUnavailable("the database cannot be used now (OperationalError SQLITE_IOERR)")

    monkeypatch.setattr(Database, "transaction", losing)
    yield made


class Prepared:
    """A run with an open episode 1 and a closed episode 2, in a database whose answers may be lost."""

    def __init__(self, url: str) -> None:
        self.db = Database.connect(url)
        self.db.migrate()
        self.run = self.create()
        self.trace = draw_trace(SETTINGS.tasks, load_network(self.db, self.run), SETTINGS.time.slot_s, SLOTS, 1, 0)
        for number in (1, 2):
            assert self.open(number) == number
        close_episode(self.db, self.run, 2)
        self.live = open_configuration("file:", self.db)
        self.live.create("small", SETTINGS.live(), "test")

    def create(self, name: str = "small") -> Run:
        return create_run(self.db, name, SETTINGS, draw_network(SETTINGS.network, SETTINGS.seed), {})

    def open(self, number: int) -> int:
        return open_episode(self.db, self.run, PLAN, self.trace, 1, uid_of(number))

    def write(self, episode: int) -> int:
        records = decisions_of(self.trace, episode) + outcomes_of(self.run, self.trace, episode)
        return len(write_records(self.db, self.run.number, records))

    def record_model(self) -> None:
        manifest = ModelManifest(
            version="v1", algorithm="ppo", profile={}, actions=NODES + 1, observation_size=1, files={}
        )
        record_model(self.db, self.run, manifest, phase="offline", method="offline-only", number=7, statistics={})

    def contents(self) -> dict[str, list[dict[str, Any]]]:
        with self.db.reading() as connection:
            return {
                table.name: [
                    {key: value for key, value in row.items() if key not in INSTANTS}
                    for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()
                ]
                for table in metadata.sorted_tables
            }


CALLS: dict[str, Callable[[Prepared], Any]] = {
    "a run is created": lambda on: on.create("another").number,
    "an episode is opened": lambda on: on.open(3),
    "an episode is closed": lambda on: close_episode(on.db, on.run, 1).outcomes,
    "an episode is aborted": lambda on: abort_episode(on.db, on.run, 1, "test"),
    "records are written": lambda on: on.write(1),
    "late records are refused": lambda on: on.write(2),
    "a model is recorded": lambda on: on.record_model(),
    "live settings are created": lambda on: on.live.create("another", SETTINGS.live(), "test").revision,
    "live settings are changed": lambda on: on.live.change("small", {"scheduler.name": "sed"}, "test").revision,
    "live settings are adopted": lambda on: bool(on.live.adopt("small", SETTINGS.live(), "a file")),
    "a node registers": lambda on: open_registry("database:", on.db).register(INSTANCE),
    "a file is stored": lambda on: open_storage("database:", on.db).write("models/a", bytes(3_000_000)),
}


@pytest.mark.parametrize("what", CALLS)
def test_what_is_tried_again_after_a_lost_answer_changes_nothing(lossy: Lossy, what: str) -> None:
    on, call = Prepared(lossy.url), CALLS[what]
    before = on.contents()
    lossy.lose = 1
    with pytest.raises(ServiceUnavailable):  # so that it is tried again
        call(on)
    once = on.contents()
    assert once != before, "it was carried out"
    call(on)
    assert on.contents() == once


def test_an_episode_whose_opening_was_answered_at_the_third_try_is_one(lossy: Lossy) -> None:
    """Duplicates would stay open for ever, because no process knows their numbers."""
    on = Prepared(lossy.url)
    lossy.lose = 2
    assert retry_while_unavailable(lambda: on.open(3)) == 3
    assert [one.episode for one in find_episodes(on.db, on.run, status="open")] == [1, 3]
