"""Routes for the status, as JSON and as an HTML page."""

from __future__ import annotations

from flask import Blueprint, Response, render_template

from controller.control import Control
from middleware.http.responses import answered


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("status", __name__)

    @routes.get("/v1/status")
    def status() -> Response:
        return answered(control.status())

    @routes.get("/")
    def page() -> str:
        return render_template("status.html", status=control.status(), settings=control.run.settings)

    return routes
