"""Routes by which the controller opens, starts, observes and closes an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from edgenode.fencing import Fence
from edgenode.interface import OpenEpisode, StartEpisode
from edgenode.node import EdgeNode
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem, parsed
from middleware.http.responses import answered, done

_EPISODE = f"/v1/episodes/<int(min=1, max={LARGEST}):episode>"

Opener = Callable[[OpenEpisode, Callable[[], None]], dict[str, Any]]
"""Opens an episode: applies the revision, maps the clock. Returns the answer.

It calls its second argument after the waits, right before it opens the episode. This raises HTTPProblem if another
controller took over meanwhile. Also raises ActivationError, RevisionLate, ServiceError, WrongEpisode.
"""


def blueprint(node: EdgeNode, opener: Opener, fence: Fence) -> Blueprint:
    """The routes."""
    routes = Blueprint("episodes", __name__)
    n = node.identity.network.nodes

    @routes.post("/v1/episodes")
    def open_episode() -> Response:
        body = parsed(OpenEpisode, request.get_data())
        if len(body.peers) != n:
            raise HTTPProblem(
                422, "Impossible value", f"peers: {len(body.peers)} addresses; this network has {n} nodes"
            )
        fence.check(request.environ)
        environ = request.environ
        return answered(opener(body, lambda: fence.check_again(environ)))

    @routes.post(f"{_EPISODE}/start")
    def start_episode(episode: int) -> Response:
        body = parsed(StartEpisode, request.get_data())
        fence.check(request.environ)
        node.start_episode(episode, body.start_s)
        return done()

    @routes.get(f"{_EPISODE}/progress")
    def progress(episode: int) -> Response:
        return answered(node.progress(episode))

    @routes.post(f"{_EPISODE}/close")
    def close_episode(episode: int) -> Response:
        fence.check(request.environ)
        return answered(node.close_episode(episode))

    return routes
