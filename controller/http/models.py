"""Routes for models: list them, activate one."""

from __future__ import annotations

from flask import Blueprint, Response

from controller.control import Control
from controller.interface import Revision
from middleware.configuration import NoLiveSettings
from middleware.http.problems import HTTPProblem
from middleware.http.responses import answered


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("models", __name__)

    @routes.get("/v1/models")
    def models() -> Response:
        return answered(control.models())

    @routes.post("/v1/models/<version>/activate")
    def activate(version: str) -> Response:
        try:
            return answered(Revision(revision=control.activate(version).revision))
        except NoLiveSettings:
            raise
        except LookupError as missing:
            raise HTTPProblem(404, "No such model", str(missing)) from None

    return routes
