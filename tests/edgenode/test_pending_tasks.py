"""Tests the number of pending tasks, which the status and the metrics report: only tasks and ticks count."""

from __future__ import annotations

from edgenode.core import NodeCore
from edgenode.facts import EpisodeFacts
from edgenode.loop import EpisodeLoop
from offload import draw_network, resolve_settings
from offload.tasks import Task


def test_messages_of_other_nodes_are_no_pending_tasks() -> None:
    """A node with a full inbox and no task was shown, and alerted on, as one that owns tasks."""
    settings = resolve_settings([{"network": {"nodes": 3}}])
    network = draw_network(settings.network, settings.seed)
    facts = EpisodeFacts(1, "0" * 32, 1, 0, network, settings.seed, 0.1, 10, "end", 1.0, "emulated")
    loop = EpisodeLoop(NodeCore(facts), 1.0, 1.0)
    loop.overload_received(1, True, 1)
    loop.announced(1, 0, 1e9, 1.0)
    loop.withdrawn(1, 0)
    loop.stop()
    assert loop.pending == 0
    loop.hold_tick(0, Task(0, 0, 1e6, 1e9, 1.0), 0.0)
    loop.hold_tick(1, None, 0.1)
    assert loop.pending == 2
