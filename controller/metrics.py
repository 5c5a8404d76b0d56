"""Defines the controller's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from offload.episodes import EpisodeStatus, Verdict
from offload.outcomes import Outcome


class Metrics:
    """The controller's metrics, in their own Prometheus registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.episodes = Counter("offload_episodes", "Episodes by verdict", ["verdict"], registry=self._registry)
        self.tasks = Counter(
            "offload_tasks_closed", "Tasks of closed episodes by outcome", ["outcome"], registry=self._registry
        )
        # Prometheus sees no increase if a counter first appears with value 1. So all counters start at 0.
        for verdict in (Verdict.COMPLETE, Verdict.MIXED, Verdict.INCOMPLETE, EpisodeStatus.ABORTED):
            self.episodes.labels(verdict)
        for outcome in Outcome:
            self.tasks.labels(outcome.value)
        self.nodes_alive = Gauge("offload_nodes_alive", "Edge nodes with a fresh heartbeat", registry=self._registry)
        self.nodes = Gauge("offload_nodes", "Edge nodes of the network", registry=self._registry)
        self.fallback = Gauge(
            "offload_fallback",
            "1 while the fallback scheduler replaces the configured scheduler",
            registry=self._registry,
        )
        self.pods_killed = Counter(
            "offload_pods_killed", "Pods that the failure injection killed", registry=self._registry
        )
        self.slot_lateness_seconds = Histogram(
            "offload_slot_lateness_seconds",
            "How late a slot's ticks were sent, in model seconds",
            buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)
