"""Routes for monitoring and tools: probes, metrics, clock, OpenAPI description."""

from __future__ import annotations

import time

from flask import Blueprint, Response

from controller.control import Control
from controller.interface import OPERATIONS, Clock, State
from middleware.http.access import OPEN_PATHS
from middleware.http.openapi import PATH, describe
from middleware.http.responses import answered


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        return answered(State(status="alive"))

    @routes.get("/readyz")
    def readyz() -> Response:
        control.require_ready()
        return answered(State(status="ready"))

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(control.metrics(), mimetype="text/plain; version=0.0.4")

    @routes.get(PATH)
    def description() -> Response:
        return answered(describe("offload-testbed: the controller", OPERATIONS, control.secured, OPEN_PATHS))

    @routes.get("/v1/clock")
    def clock() -> Response:
        return answered(Clock(monotonic_s=time.monotonic()))

    return routes
