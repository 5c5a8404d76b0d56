"""Tests that the controller's status page works when a pod of another version gives an unknown answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import controller.node_states
from controller.node_states import node_states
from middleware.registry import Instance


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"revision": 3, "scheduler": "sed", "pending": 0}, None),
        ({"revision": "three", "scheduler": ["sed"], "queues": 7}, controller.node_states._MALFORMED),
    ],
)
def test_a_malformed_status_is_a_problem_of_its_node(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], problem: str | None
) -> None:
    monkeypatch.setattr(controller.node_states, "_ask", lambda *_: {0: answer})
    services: Any = SimpleNamespace(
        network=SimpleNamespace(nodes=1, capacity_hz=np.ones(1), arrival_probability=np.ones(1)),
        registered_nodes=lambda: [Instance("edgenode", "0", "r", "http://h:1", {}, 1.0)],
    )
    (state,) = node_states(services, None)
    assert (state.problem, state.address) == (problem, "http://h:1")
    assert state.revision == (3 if problem is None else None)
