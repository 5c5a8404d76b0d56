"""A node's metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from offload.outcomes import Outcome


class Metrics:
    """The metrics of one node, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.tasks = Counter(
            "offload_tasks", "Tasks whose outcome was recorded by this node", ["outcome"], registry=self._registry
        )
        for outcome in Outcome:  # Prometheus misses the first increase of a counter that does not exist before it
            self.tasks.labels(outcome.value)
        self.decision_seconds = Histogram(
            "offload_decision_seconds",
            "Model seconds from a tick to its decision",
            ["scheduler"],
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
            registry=self._registry,
        )
        self.scheduler_failures = Counter(
            "offload_scheduler_failures",
            "Decisions in which the scheduler raised an error; the task was executed at its own node",
            registry=self._registry,
        )
        self.queue_length = Gauge(
            "offload_queue_length", "Tasks in the queues of this node", ["queue"], registry=self._registry
        )
        self.pending = Gauge(
            "offload_pending_tasks", "Tasks that this node owns, and ticks to process", registry=self._registry
        )
        self.outbox = Gauge(
            "offload_outbox_records", "Records that wait for the database on this node", registry=self._registry
        )
        self.in_memory = Gauge(
            "offload_outbox_memory_records",
            "Records in memory, because the disk is not writable",
            registry=self._registry,
        )
        self.dropped = Gauge(
            "offload_dropped_records",
            "Dropped records: neither disk nor memory could hold them",
            registry=self._registry,
        )
        self.refused = Gauge(
            "offload_refused_records",
            "Records set aside: the database refused them permanently, or they are damaged",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
