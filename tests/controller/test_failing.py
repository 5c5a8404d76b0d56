"""Tests errors that end an opening, an episode or the controller: their types say whether trying again helps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_node import Node
from stage import PLAN, Stage

from controller.closing import ClosingError, close_nodes
from controller.episode_runtime import OpeningError, RefusedError
from controller.nodes import NodeClients
from middleware.errors import ServiceRefused


@pytest.fixture
def stage_with(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage with these small nodes."""
    made: list[Node] = []

    def make(*nodes: Node) -> Stage:
        made.extend(nodes)
        return Stage(tmp_path, {index: node.address for index, node in enumerate(nodes)})

    yield make
    for node in made:
        node.close()


def _problem(title: str) -> dict[str, Any]:
    return {"status": 424, "answer": json.dumps({"title": title, "detail": "its own words"}).encode()}


def test_a_controller_whose_database_refuses_episodes_is_not_to_be_restarted(tmp_path: Path) -> None:
    """The error became one of the fleet, after which the controller was restarted again and again."""
    stage = Stage(tmp_path, settings={"network": {"arrival_probability": [1, 1]}})
    with stage.database.transaction() as connection:
        refused = "CREATE TRIGGER t BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'secret'); END"
        connection.exec_driver_sql(refused)
    stage.player.start()
    stage.player.set_serving(True)
    assert stage.lifecycle.stopping.wait(60)
    assert (stage.lifecycle.failure or "").startswith("no episode can be played: the database refuses the request")
    with pytest.raises(ServiceRefused, match=r"^the database refuses the request"):
        stage.lifecycle.raise_reason()


@pytest.mark.parametrize(("title", "kind"), [("Revision refused", RefusedError), ("Service refused", OpeningError)])
def test_only_refused_live_settings_are_replaced_by_the_fallback(
    stage_with: Callable[..., Stage], title: str, kind: type[OpeningError]
) -> None:
    """Another scheduler does not help if the database refuses a node's calls."""
    stage = stage_with(Node(), Node(**_problem(title)))
    with pytest.raises(OpeningError, match="node 1 refuses: its own words") as raised:
        stage.episodes.open(PLAN)
    assert type(raised.value) is kind


def test_an_episode_that_cannot_be_closed_is_reported_in_the_words_of_a_node_that_waits(
    stage_with: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message had the answer of the first node, which might have delivered all its records."""
    monkeypatch.setattr("controller.closing.RETRY_LIMIT_S", 0.0)
    done = json.dumps({"abandoned": 0, "outcomes": 0, "detail": "all is well"}).encode()
    nodes = Node(status=200, answer=done), Node(status=503)
    stage = stage_with(*nodes)
    clients = NodeClients(dict(enumerate([node.address for node in nodes])), stage.run.uid)
    with pytest.raises(ClosingError, match=r"nodes \[1\] have not delivered .* the last answer: its own message"):
        close_nodes(clients, 1, lambda _: None, 10.0)
