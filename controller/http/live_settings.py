"""Routes for the live settings, including the scheduler."""

from __future__ import annotations

from flask import Blueprint, Response, request

from controller.control import Control
from controller.interface import LiveSettingsChange, Revision
from middleware.http.problems import parsed
from middleware.http.responses import answered


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("live_settings", __name__)

    @routes.get("/v1/configuration")
    def configuration() -> Response:
        return answered(control.live_settings())

    @routes.patch("/v1/configuration")
    def change() -> Response:
        body = parsed(LiveSettingsChange, request.get_data())
        return answered(Revision(revision=control.change(body.live_settings, body.by).revision))

    return routes
