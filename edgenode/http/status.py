"""The route of the node's status."""

from __future__ import annotations

from flask import Blueprint, Response

from edgenode.node import EdgeNode
from middleware.http.responses import answered


def blueprint(node: EdgeNode) -> Blueprint:
    """The route."""
    routes = Blueprint("status", __name__)

    @routes.get("/v1/status")
    def status() -> Response:
        return answered(node.status())

    return routes
