"""The node's HTTP interface (docs/contracts.md): Flask on cheroot.

Concurrency: cheroot's worker threads run the handlers; a connection that has become a link gets a thread of its own
(`receivers.py`).
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from flask import Flask, Response, request

from edgenode.activation import ActivationError, RevisionLate
from edgenode.errors import AlreadyTicked, ProbeTimeout, Unsettled, WrongEpisode
from edgenode.facts import Journey
from edgenode.fencing import Fence
from edgenode.interface import (
    OPERATIONS,
    Announcement,
    Handover,
    OpenEpisode,
    Overload,
    StartEpisode,
    Tick,
    Withdrawal,
)
from edgenode.links import PROTOCOL, Accept, payload_bytes, receive_tasks
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode
from edgenode.outbox import OutboxError
from middleware.http.access import OPEN_PATHS, Access
from middleware.http.addressee import ENVIRON, HEADER, MISDIRECTED
from middleware.http.openapi import LARGEST, PATH, describe
from middleware.http.problems import MEDIA_TYPE, HTTPProblem, as_response, common_problem, parsed
from middleware.http.server import CONNECTION, PodConnection, PodServer
from middleware.registry import bound

_LONGEST_BODY = 64 * 1024
_EPISODES = "/v1/episodes"

_logger = logging.getLogger(__name__)


Opener = Callable[[OpenEpisode], dict[str, Any]]
"""Opens an episode: applies the revision, maps the clock; returns the answer. Raises ActivationError, ServiceError."""

Environ = dict[str, Any]
Handler = Callable[[Environ], tuple[int, Mapping[str, Any] | None]]
"""A WSGI environment → status and JSON body. Raises HTTPProblem and what `_explained` knows."""


class NodeApp:
    """The interface of a node as a WSGI application.

    Here, before anything else, a request that is meant for another node is refused (`middleware/http/addressee.py`). What is
    asked several times in every slot (`frequent`) is answered without Flask, whose routing and request objects would
    take half of its time; everything else is Flask's. `start_s_here`: an instant of the controller's clock on this
    machine's.
    """

    def __init__(
        self,
        node: EdgeNode,
        opener: Opener,
        start_s_here: Callable[[float], float],
        metrics: Metrics,
        fence: Fence,
    ) -> None:
        self._frequent = _frequent(node, fence)
        self._methods = {path: method for method, path in self._frequent}
        self._flask = _flask(node, opener, start_s_here, metrics, fence)
        self._own = node.identity.addressee(node.identity.node)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """WSGI."""
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
        except Exception as error:  # every error is answered; one that is not foreseen is logged
            problem = _explained(error, path)
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
                400, "No addressee", f"the header {HEADER} is missing: <run uid>/<node index>, the node that is meant"
            )
        raise HTTPProblem(
            MISDIRECTED, "Misdirected Request", f"this is {self._own}, not {to[:64]}; look its address up again"
        )


def _frequent(node: EdgeNode, fence: Fence) -> dict[tuple[str, str], Handler]:
    n, own, slots = node.identity.network.nodes, node.identity.node, node.identity.settings.time.slots

    def tick(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Tick, _content(environ))
        fence.check(environ)
        if body.slot > slots or (body.slot == slots and body.task is not None):
            raise HTTPProblem(
                422,
                "Impossible value",
                f"slot: {body.slot}; tasks come in the slots 0 to {slots - 1}, the tick {slots} has none",
            )
        node.tick(body.episode, body.slot, body.task.model_dump() if body.task else None)
        return 202, None

    def report(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        episode, slot = _numbers(environ, "episode", "slot")
        if not (1 <= episode <= LARGEST and 0 <= slot <= slots):
            raise HTTPProblem(422, "Impossible value", f"episode: {episode}, slot: {slot}; slots are 0 to {slots}")
        return 200, node.report(episode, slot)

    def announcement(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Announcement, _content(environ))
        check_origin(body.source, body.slot)
        node.announced(body.episode, body.slot, body.source, body.cycles, body.forget_after_s)
        return 204, None

    def withdrawal(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Withdrawal, _content(environ))
        check_origin(body.source, body.slot)
        node.withdrawn(body.episode, body.slot, body.source)
        return 204, None

    def handover(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Handover, _content(environ))
        check_origin(body.source, body.slot)
        # An emulated transmission counts as size / rate, however late its sender's timer was.
        on_link = body.size_bits / float(node.identity.network.rate_bps[body.source, own])
        journey = _journey(body, node.identity.settings.node.transfer, body.transmission_s)
        return 200, {
            "accepted": node.handed_over(body.episode, body.episode_uid, journey, body.elapsed_at_start_s + on_link)
        }

    def link(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        if environ.get("HTTP_UPGRADE", "").lower() != PROTOCOL:
            raise HTTPProblem(426, "Upgrade required", f"a link needs the header Upgrade: {PROTOCOL}")
        episode, source = _numbers(environ, "episode", "source")
        check_origin(source, 0)
        if node.receivers.has_ended(episode):
            raise HTTPProblem(409, "Another episode", f"episode {episode} is over; it has no links any more")
        connection: _Connection = environ[CONNECTION]
        connection.becomes_link = partial(node.receivers.take, connection, source, episode, receive)
        return 101, None

    def receive(connection: socket.socket) -> None:
        receive_tasks(connection, expect, lambda error: _explained(error, "/v1/link").body())

    def expect(line: bytes) -> tuple[int, Accept]:
        body = parsed(Handover, line)
        check_origin(body.source, body.slot)
        clock = node.clock_of(body.episode, body.episode_uid)

        def accept(real_s: float) -> Mapping[str, Any]:
            on_link = real_s * clock.time_scale
            journey = _journey(body, "payload", on_link)
            return {
                "accepted": node.handed_over(body.episode, body.episode_uid, journey, body.elapsed_at_start_s + on_link)
            }

        return payload_bytes(body.size_bits), accept

    def overload(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Overload, _content(environ))
        if not (body.node < n and body.node != own):
            raise HTTPProblem(422, "Impossible value", f"node: {body.node}; another one below {n} is needed")
        node.overload_heard(body.node, body.overloaded, body.sequence)
        return 204, None

    def check_origin(source: int, slot: int) -> None:
        if not (source < n and source != own):
            raise HTTPProblem(422, "Impossible value", f"source: {source}; another node below {n} is needed")
        if slot >= slots:
            raise HTTPProblem(422, "Impossible value", f"slot: {slot}; tasks come in the slots 0 to {slots - 1}")

    return {
        ("POST", "/v1/ticks"): tick,
        ("GET", "/v1/reports"): report,
        ("POST", "/v1/announcements"): announcement,
        ("POST", "/v1/withdrawals"): withdrawal,
        ("POST", "/v1/handovers"): handover,
        ("GET", "/v1/link"): link,
        ("POST", "/v1/overload"): overload,
    }


def _refuse_method(allowed: str, environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
    raise HTTPProblem(
        405, "Method Not Allowed", f"{environ['REQUEST_METHOD']}: only {allowed} is allowed here", (allowed,)
    )


def _journey(body: Handover, transfer: str, transmission_s: float) -> Journey:
    return Journey(
        slot=body.slot,
        source=body.source,
        size_bits=body.size_bits,
        cycles=body.cycles,
        deadline_s=body.deadline_s,
        skew_s=body.skew_s,
        decision_s=body.decision_s,
        transmission_waiting_s=body.transmission_waiting_s,
        transmission_s=transmission_s,
        transfer=transfer,
    )


def _flask(
    node: EdgeNode, opener: Opener, start_s_here: Callable[[float], float], metrics: Metrics, fence: Fence
) -> Flask:
    app = Flask("edgenode")
    n = node.identity.network.nodes

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        if node.activation.current is None:
            raise HTTPProblem(503, "Not ready", node.activation.problem or "no scheduler is active yet")
        return _json({"status": "ready"})

    @app.get("/metrics")
    def prometheus() -> Response:
        status = node.status()
        for queue, length in status["queues"].items():
            metrics.queue_length.labels(queue).set(length)
        metrics.pending.set(status["pending"])
        metrics.outbox.set(status["outbox"])
        metrics.in_memory.set(status["outbox_in_memory"])
        metrics.refused.set(status["refused_records"])
        metrics.dropped.set(status["dropped_records"])
        return Response(metrics.text(), mimetype="text/plain; version=0.0.4")

    @app.get(PATH)
    def description() -> Response:
        secured = node.identity.access.token is not None
        return _json(describe("offload-testbed: an edge node", OPERATIONS, secured, OPEN_PATHS))

    @app.get("/v1/status")
    def status() -> Response:
        return _json(node.status())

    @app.post("/v1/episodes")
    def open_episode() -> Response:
        body = parsed(OpenEpisode, request.get_data())
        if len(body.peers) != n:
            raise HTTPProblem(
                422, "Impossible value", f"peers: {len(body.peers)} addresses; this network has {n} nodes"
            )
        fence.check(request.environ)
        return _json(opener(body))

    @app.post(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>/start")
    def start_episode(episode: int) -> Response:
        body = parsed(StartEpisode, request.get_data())
        fence.check(request.environ)
        node.start_episode(episode, start_s_here(body.start_s))
        return Response(status=204)

    @app.get(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>/progress")
    def progress(episode: int) -> Response:
        return _json(node.progress(episode))

    @app.post(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>/close")
    def close_episode(episode: int) -> Response:
        fence.check(request.environ)
        return _json(node.close_episode(episode))

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Any:
        return as_response(_explained(error, request.path))

    return app


def _explained(error: Exception, path: str) -> HTTPProblem:
    """Any error as a problem; one that is not the caller's is logged."""
    common = common_problem(error)
    if common is not None:
        return common
    for kind, status, title in (
        (WrongEpisode, 409, "Another episode"),
        (AlreadyTicked, 409, "Already ticked"),
        (ActivationError, 424, "Revision refused"),
        (RevisionLate, 503, "Not there yet"),
        (OutboxError, 503, "Records wait"),
        (ProbeTimeout, 503, "No snapshot"),
        (Unsettled, 503, "Not settled yet"),
    ):
        if isinstance(error, kind):
            return HTTPProblem(status, title, str(error))
    _logger.error("%s failed", path, exc_info=error)
    return HTTPProblem(500, "Internal error", "the node's log has the details")


def _numbers(environ: Environ, *names: str) -> list[int]:
    """Integers of a query. Raises HTTPProblem."""
    try:
        query = parse_qs(environ["QUERY_STRING"])
        return [int(query[name][0]) for name in names]
    except (KeyError, ValueError):
        raise HTTPProblem(422, "Impossible value", f"{' and '.join(names)} are needed, as integers") from None


def _content(environ: Environ) -> bytes:
    content: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # bounded by the server
    return content


def _json(content: Mapping[str, Any]) -> Response:
    return Response(json.dumps(content, allow_nan=False), mimetype="application/json")


class _Connection(PodConnection):
    """One that has become a link leaves its worker thread, and is no more served as HTTP."""

    becomes_link: Callable[[], None] | None = None

    def communicate(self) -> bool:
        more = super().communicate()
        if self.becomes_link is None:
            return more
        self.becomes_link()
        return False

    def close(self) -> None:
        """By the server, which has nothing more to do with a link."""
        if self.becomes_link is None:
            self.end()

    def end(self) -> None:
        """Close the connection, also one that is a link."""
        super().close()


def node_server(bind: str, threads: int, access: Access) -> PodServer:
    """A node's server, on which connections may become links. Raises SettingsError for an impossible `bind`."""
    return PodServer(*bound(bind), threads, _LONGEST_BODY, access, _Connection)
