"""Routes that begin and end continuous arrivals."""

from __future__ import annotations

from flask import Blueprint, Response

from controller.control import Control
from middleware.http.responses import done


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("serving", __name__)

    @routes.post("/v1/serve")
    def serve() -> Response:
        control.require_ready()
        control.set_serving(True)
        return done()

    @routes.delete("/v1/serve")
    def stop_serving() -> Response:
        control.set_serving(False)
        return done()

    return routes
