"""Routes for episodes: request an episode, read its state, wait for its end, abort it, read its tasks.

Concurrency: a request that waits for the end of an episode occupies one of the server's workers. Up to `_WAITING`
requests may wait at the same time. Others are answered immediately, with `Retry-After`. So workers stay free for the
page and the probes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from controller.control import Control
from controller.interface import Asked, EpisodeRequest
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem, parsed
from middleware.http.responses import answered, done
from offload.episodes import EpisodePlan, EpisodeStatus
from offload.tasks import Trace

_LONGEST_WAIT_S = 60.0
_WAITING = 4
_RETRY_AFTER_S = 1
_EPISODE = f"/v1/episodes/<int(min=1, max={LARGEST}):episode>"


def blueprint(control: Control) -> Blueprint:
    """The routes."""
    routes = Blueprint("episodes", __name__)
    waiting = threading.BoundedSemaphore(_WAITING)

    @routes.post("/v1/episodes")
    def post_episode() -> Response:
        control.require_ready()
        body = parsed(EpisodeRequest, request.get_data())
        recorded = None if body.tasks is None else _recorded(control, body.tasks)
        return answered(Asked(episode=control.request_episode(EpisodePlan.of(body), recorded)), 202)

    @routes.get(_EPISODE)
    def get_episode(episode: int) -> Response:
        wait_s = _wait_s(request.args.get("wait_s", "0"))
        may_wait = wait_s > 0 and waiting.acquire(blocking=False)
        if may_wait:
            try:
                control.wait_for(episode, wait_s)
            finally:
                waiting.release()
        found = control.episode(episode)
        if found is None:
            raise HTTPProblem(404, "No such episode", f"run '{control.run.name}' has no episode {episode}")
        answer = answered(found)
        if wait_s > 0 and not may_wait and found.status == EpisodeStatus.OPEN:
            answer.headers["Retry-After"] = str(_RETRY_AFTER_S)
        return answer

    @routes.post(f"{_EPISODE}/abort")
    def abort(episode: int) -> Response:
        if not control.abort(episode, "aborted by request"):
            raise HTTPProblem(409, "Episode not running", f"episode {episode} is not running")
        return done()

    @routes.get(f"{_EPISODE}/trace")
    def trace(episode: int) -> Response:
        try:
            return answered(control.trace(episode).to_json())  # the file format, where slots are integers
        except LookupError as missing:
            raise HTTPProblem(404, "No such episode", str(missing)) from None

    return routes


def _recorded(control: Control, tasks: Mapping[str, Any]) -> Trace:
    """The recorded trace of a request. Raises HTTPProblem if it does not fit the run."""
    settings = control.run.settings.time
    try:
        trace = Trace.from_json({"slots": settings.slots, **tasks}, control.network.nodes)
    except ValueError as wrong:
        raise HTTPProblem(422, "Impossible trace", f"tasks: {wrong}") from None
    if trace.slots != settings.slots or trace.slot_s != settings.slot_s:
        raise HTTPProblem(
            422,
            "Impossible trace",
            f"tasks: {trace.slots} slots of {trace.slot_s:g} s; this run has {settings.slots} of {settings.slot_s:g} s",
        )
    return trace


def _wait_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise HTTPProblem(422, "Impossible value", f"wait_s: {text!r} must be a number of seconds, 0 or more")
    return min(seconds, _LONGEST_WAIT_S)
