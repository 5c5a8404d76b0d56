"""Routes for a run: its network and its report."""

from __future__ import annotations

from flask import Blueprint, Response

from controller.control import Control
from controller.interface import Network
from middleware.http.problems import HTTPProblem
from middleware.http.responses import answered


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("run", __name__)

    @routes.get("/v1/network")
    def network() -> Response:
        return answered(Network.model_validate(control.network.to_json()))

    @routes.get("/v1/runs/<name>/report")
    def report(name: str) -> Response:
        content = control.report(name)
        if content is None:
            raise HTTPProblem(404, "No report", f"there is no report of run '{name}' yet")
        return Response(content, mimetype="text/html")

    return routes
