"""Routes for monitoring: liveness, readiness, metrics and the OpenAPI description."""

from __future__ import annotations

from flask import Blueprint, Response

from edgenode.interface import OPERATIONS
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode
from middleware.http.access import OPEN_PATHS
from middleware.http.openapi import PATH, describe
from middleware.http.problems import HTTPProblem
from middleware.http.responses import answered


def blueprint(node: EdgeNode, metrics: Metrics) -> Blueprint:
    """The routes."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return answered({"status": "alive"})

    @routes.get("/readyz")
    def readyz() -> Response:
        if node.activation.current is None:
            raise HTTPProblem(503, "Not ready", node.activation.problem or "no scheduler is active yet")
        return answered({"status": "ready"})

    @routes.get("/metrics")
    def prometheus() -> Response:
        status = node.status()
        for queue, length in status["queues"].items():
            metrics.queue_length.labels(queue).set(length)
        metrics.pending.set(status["pending"])
        metrics.outbox.set(status["outbox"])
        metrics.in_memory.set(status["outbox_in_memory"])
        metrics.refused.set(status["refused_records"])
        metrics.dropped.set(status["dropped_records"])
        return Response(metrics.text(), mimetype="text/plain; version=0.0.4")

    @routes.get(PATH)
    def description() -> Response:
        secured = node.identity.access.token is not None
        return answered(describe("offload-testbed: an edge node", OPERATIONS, secured, OPEN_PATHS))

    return routes
