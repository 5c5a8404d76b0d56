"""Tests continuous arrivals while the nodes refuse them, or the live settings are lost or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_node import Node
from stage import Stage
from testbed import wait_until

from middleware.database.schema import configuration, tasks

KEPT = 10


@pytest.fixture
def refusing() -> Iterator[list[Node]]:
    nodes = [Node(status=422), Node(status=422)]
    yield nodes
    for node in nodes:
        node.close()


def test_refused_openings_do_not_fill_the_database(
    tmp_path: Path, refusing: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one left an aborted episode with all its tasks. None was deleted before an episode was played."""
    monkeypatch.setattr("controller.player._REFUSED_S", 0.0)
    addresses = {index: node.address for index, node in enumerate(refusing)}
    stage = Stage(tmp_path, addresses, settings={"kept_episodes": KEPT})
    stage.player.start()
    stage.player.set_serving(True)
    wait_until(lambda: len(refusing[0].asked) > 2 * KEPT)
    stage.lifecycle.end()
    stage.player.stop()
    found = stage.found()
    assert KEPT <= len(found) <= KEPT + 1, "the player may have stopped before the last deletion"
    assert {status for status, _ in found} == {"aborted"}
    with stage.database.reading() as connection:
        with_tasks = connection.execute(sa.select(sa.func.count(sa.distinct(tasks.c.episode)))).scalar_one()
    assert with_tasks <= KEPT + 1


def test_lost_and_foreign_live_settings_do_not_end_the_player(
    tmp_path: Path, refusing: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.player._REFUSED_S", 0.01)
    stage = Stage(tmp_path, {index: node.address for index, node in enumerate(refusing)})

    def trouble(text: str) -> bool:
        assert stage.lifecycle.failure is None
        return text in str(stage.player.trouble)

    stage.player.start()
    stage.player.set_serving(True)
    wait_until(lambda: trouble("refuses"))
    with stage.database.transaction() as connection:
        connection.execute(sa.delete(configuration))
    wait_until(lambda: trouble("no live settings"))
    stage.configuration.create("stop", stage.run.settings.live(), "test")
    wait_until(lambda: trouble("refuses"))
    with stage.database.transaction() as connection:
        connection.execute(sa.update(configuration).values(content=[], revision=9))
    asked = len(refusing[0].asked)
    wait_until(lambda: len(refusing[0].asked) > asked + 2)
    assert trouble("refuses")
    stage.lifecycle.end()
    stage.player.stop()
    assert stage.lifecycle.failure is None
