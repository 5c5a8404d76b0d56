"""Makes the Flask application from all blueprints, and answers errors as problem details.

Concurrency: see `controller/http/__init__.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, request

from controller.control import Control, NotReady
from controller.episode_runtime import BusyError, OpeningError
from controller.http import episodes, health, live_settings, models, run, serving, status
from middleware.configuration import NoLiveSettings
from middleware.database import LeaseLost
from middleware.http.access import Access
from middleware.http.address import bound
from middleware.http.problems import HTTPProblem, as_response, common_problem
from middleware.http.server import PodServer
from offload.settings import SettingsError

_THREADS = 12
_LONGEST_BODY = 32 * 1024 * 1024
"""Bytes: enough for a recorded trace of a hundred nodes and several thousand slots."""
_SUBJECTS = (health, status, episodes, serving, live_settings, models, run)


def make_app(control: Control) -> Flask:
    """The REST interface to a `Control`."""
    app = Flask("controller", root_path=str(Path(__file__).parent))
    for subject in _SUBJECTS:
        app.register_blueprint(subject.blueprint(control))

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Any:
        found = _explain(error)
        if found is None:
            app.logger.exception("%s %s failed", request.method, request.path)
            found = HTTPProblem(500, "Internal error", "the controller's log has the details")
        return as_response(found)

    return app


def controller_server(bind: str, access: Access) -> PodServer:
    """The controller's HTTP server, not started yet. Raises SettingsError for an invalid `bind`."""
    return PodServer(*bound(bind), _THREADS, _LONGEST_BODY, access)


def _explain(error: Exception) -> HTTPProblem | None:
    if isinstance(error, NotReady | NoLiveSettings):
        return HTTPProblem(503, "Not ready", str(error))
    if isinstance(error, BusyError):
        return HTTPProblem(409, "Busy", str(error))
    if isinstance(error, LeaseLost):
        return HTTPProblem(503, "Another controller", str(error))
    if isinstance(error, OpeningError):
        return HTTPProblem(502, "Episode could not be opened", str(error))
    if isinstance(error, SettingsError):
        return HTTPProblem(422, "Impossible value", str(error))
    return common_problem(error)
