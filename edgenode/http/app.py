"""The WSGI application of a node: dispatches each request to its handler, and answers errors as problem details."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from flask import Flask, request

from edgenode.fencing import Fence
from edgenode.http import episodes, handovers, health, links, messages, reports, status, ticks
from edgenode.http.episodes import Opener
from edgenode.http.problems import explain
from edgenode.http.requests import Environ, Handlers
from edgenode.links import PROTOCOL
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode
from middleware.http.addressee import ENVIRON, HEADER, MISDIRECTED
from middleware.http.problems import MEDIA_TYPE, HTTPProblem, as_response

_EPISODES = "/v1/episodes"


class NodeApp:
    """The interface of a node as a WSGI application.

    It first rejects requests that are addressed to another node (`middleware/http/addressee.py`). It answers frequent
    requests without Flask, whose routing and request objects would take half of their time. Flask answers the rest.
    """

    def __init__(self, node: EdgeNode, opener: Opener, metrics: Metrics, fence: Fence) -> None:
        self._frequent = _frequent(node, fence)
        self._methods = {path: method for method, path in self._frequent}
        self._flask = _flask(node, opener, metrics, fence)
        self._own = node.identity.addressee(node.identity.node)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request (WSGI)."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        handler = self._frequent.get((method, path))
        to = environ.get(ENVIRON)
        if to != self._own and (to is not None or path in self._methods or path.startswith(_EPISODES)):
            handler = partial(self._refuse_addressee, to)
        if handler is None:
            if path not in self._methods:
                return self._flask(environ, start_response)
            handler = partial(_refuse_method, self._methods[path])
        kind, extra = "application/json", []
        try:
            status, body = handler(environ)
        except Exception as error:  # every error is answered; an unexpected one is logged
            problem = explain(error, path)
            status, body, kind, extra = problem.status, problem.body(), MEDIA_TYPE, problem.headers()
        content = b"" if body is None else json.dumps(body, allow_nan=False).encode()
        headers = [("Content-Length", str(len(content))), *extra]
        if status == 101:
            headers = [("Connection", "Upgrade"), ("Upgrade", PROTOCOL)]
        if content:
            headers.append(("Content-Type", kind))
        start_response(f"{status} {http.client.responses[status]}", headers)
        return [content]

    def _refuse_addressee(self, to: str | None, _: Environ) -> tuple[int, Mapping[str, Any] | None]:
        if to is None:
            raise HTTPProblem(
                400, "No addressee", f"the header {HEADER} is missing: <run uid>/<node index> of the addressed node"
            )
        raise HTTPProblem(
            MISDIRECTED,
            "Misdirected Request",
            f"this node is {self._own}, the request is for {to[:64]}; look up that node's address again",
        )


def _refuse_method(allowed: str, environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
    raise HTTPProblem(
        405, "Method Not Allowed", f"{environ['REQUEST_METHOD']}: only {allowed} is allowed here", (allowed,)
    )


def _frequent(node: EdgeNode, fence: Fence) -> Handlers:
    """The handlers that answer without Flask."""
    return {
        **ticks.handlers(node, fence),
        **reports.handlers(node),
        **messages.handlers(node),
        **handovers.handlers(node),
        **links.handlers(node),
    }


def _flask(node: EdgeNode, opener: Opener, metrics: Metrics, fence: Fence) -> Flask:
    """The Flask application for the other requests."""
    app = Flask("edgenode")
    app.register_blueprint(health.blueprint(node, metrics))
    app.register_blueprint(status.blueprint(node))
    app.register_blueprint(episodes.blueprint(node, opener, fence))

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Any:
        return as_response(explain(error, request.path))

    return app
