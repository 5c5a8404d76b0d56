"""The node's HTTP interface (docs/contracts.md): Flask on cheroot, which hands a request to us while its body is still
coming, so that a payload's transmission can be measured from the first byte to the last.

Concurrency: cheroot's worker threads run the handlers; each payload that is being received holds one of them.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.wsgi import Gateway_10
from cheroot.wsgi import Server as WSGIServer
from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import HTTPException

from edgenode.activation import ActivationError
from edgenode.core import Journey
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode, ProbeTimeout, WrongEpisode
from edgenode.outbox import OutboxError
from edgenode.peers import TASK_HEADER
from offload.settings import explain

_READ_BYTES = 64 * 1024
_RECEIVED = "offload.received_s"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class OpenEpisode(_Body):
    """`POST /v1/episodes`."""

    episode: int = Field(ge=1)
    trace: int = Field(ge=0)
    controller: str = Field(pattern="^http://")
    revision: int = Field(ge=0)
    peers: list[str] = Field(min_length=1)
    start_s: float | None = None


class StartEpisode(_Body):
    """`POST /v1/episodes/<episode>/start`."""

    start_s: float


class TickTask(_Body):
    """The task of a tick."""

    size_bits: float = Field(gt=0)
    cycles: float = Field(gt=0)
    deadline_s: float = Field(gt=0)


class Tick(_Body):
    """`POST /v1/ticks`."""

    episode: int = Field(ge=1)
    slot: int = Field(ge=0)
    task: TickTask | None


class Announcement(_Body):
    """`POST /v1/announcements`."""

    episode: int
    slot: int = Field(ge=0)
    source: int = Field(ge=0)
    cycles: float = Field(gt=0)
    forget_after_s: float = Field(ge=0)


class Withdrawal(_Body):
    """`POST /v1/withdrawals`."""

    episode: int
    slot: int = Field(ge=0)
    source: int = Field(ge=0)


class Handover(_Body):
    """`POST /v1/handovers`."""

    episode: int
    slot: int = Field(ge=0)
    source: int = Field(ge=0)
    size_bits: float = Field(gt=0)
    cycles: float = Field(gt=0)
    deadline_s: float = Field(gt=0)
    elapsed_at_start_s: float = Field(ge=0)
    transmission_waiting_s: float = Field(ge=0)
    transmission_s: float = Field(ge=0)
    skew_s: float = Field(ge=0)
    decision_s: float = Field(ge=0)


class Overload(_Body):
    """`POST /v1/overload`."""

    node: int = Field(ge=0)
    overloaded: bool
    sequence: int = Field(ge=0)


_Parsed = TypeVar("_Parsed", bound=_Body)
Opener = Callable[[OpenEpisode], dict[str, Any]]
"""Opens an episode: applies the revision, maps the clock; returns the answer. Raises ActivationError, OSError."""


class _Problem(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


def make_app(node: EdgeNode, opener: Opener, start_s_here: Callable[[float], float], metrics: Metrics) -> Flask:
    """The interface of a node. `start_s_here`: an instant of the controller's clock on this machine's."""
    app = Flask("edgenode")
    n, own = node.identity.network.nodes, node.identity.node

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        if node.activation.current is None:
            raise _Problem(503, "Not ready", node.activation.problem or "no scheduler is active yet")
        return _json({"status": "ready"})

    @app.get("/metrics")
    def prometheus() -> Response:
        status = node.status()
        for queue, length in status["queues"].items():
            metrics.queue_length.labels(queue).set(length)
        metrics.pending.set(status["pending"])
        metrics.outbox.set(status["outbox"])
        metrics.refused.set(status["refused_records"])
        return Response(metrics.text(), mimetype="text/plain; version=0.0.4")

    @app.get("/v1/status")
    def status() -> Response:
        return _json(node.status())

    @app.post("/v1/episodes")
    def open_episode() -> Response:
        body = _body(OpenEpisode)
        if len(body.peers) != n:
            raise _Problem(422, "Impossible value", f"peers: {len(body.peers)} addresses; this network has {n} nodes")
        return _json(opener(body))

    @app.post("/v1/episodes/<int:episode>/start")
    def start_episode(episode: int) -> Response:
        node.start_episode(episode, start_s_here(_body(StartEpisode).start_s))
        return _nothing()

    @app.post("/v1/episodes/<int:episode>/close")
    def close_episode(episode: int) -> Response:
        node.close_episode(episode)
        return _json({"episode": episode, "waiting": node.outbox.waiting})

    @app.post("/v1/ticks")
    def tick() -> tuple[Response, int]:
        body = _body(Tick)
        node.tick(body.episode, body.slot, body.task.model_dump() if body.task else None)
        return _json({"slot": body.slot}), 202

    @app.get("/v1/reports")
    def report() -> Response:
        try:
            episode, slot = int(request.args["episode"]), int(request.args["slot"])
        except (KeyError, ValueError):
            raise _Problem(422, "Impossible value", "episode and slot are needed, as integers") from None
        return _json(node.report(episode, slot))

    @app.post("/v1/announcements")
    def announcement() -> Response:
        body = _body(Announcement)
        _check_source(body.source)
        node.announced(body.episode, body.slot, body.source, body.cycles, body.forget_after_s)
        return _nothing()

    @app.post("/v1/withdrawals")
    def withdrawal() -> Response:
        body = _body(Withdrawal)
        _check_source(body.source)
        node.withdrawn(body.episode, body.slot, body.source)
        return _nothing()

    @app.post("/v1/handovers")
    def handover() -> Response:
        header = request.headers.get(TASK_HEADER)
        if header is None:
            body = _body(Handover)
            transfer = "emulated" if node.identity.settings.node.transfer == "emulated" else "payload"
            transmission_s = body.transmission_s
        else:
            body = _parse(Handover, header.encode())
            _check_source(body.source)
            clock = node.clock_of(body.episode)
            transfer, transmission_s = "payload", _receive_payload(body) * clock.time_scale
        _check_source(body.source)
        # The stages' durations are measured; what the deadline check adds to the elapsed time is what was measured, too,
        # except for an emulated transmission, whose duration counts as size / rate.
        on_link = transmission_s if header is not None else _modelled(body)
        journey = Journey(
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
        return _json({"accepted": node.handed_over(body.episode, journey, body.elapsed_at_start_s + on_link)})

    @app.post("/v1/overload")
    def overload() -> Response:
        body = _body(Overload)
        if not (body.node < n and body.node != own):
            raise _Problem(422, "Impossible value", f"node: {body.node}; another one below {n} is needed")
        node.overload_heard(body.node, body.overloaded, body.sequence)
        return _nothing()

    def _modelled(body: Handover) -> float:
        return body.size_bits / float(node.identity.network.rate_bps[body.source, own])

    def _check_source(source: int) -> None:
        if not (source < n and source != own):
            raise _Problem(422, "Impossible value", f"source: {source}; another node below {n} is needed")

    @app.errorhandler(Exception)
    def problem(error: Exception) -> tuple[Response, int]:
        found = _explain(error)
        if found is None:
            app.logger.exception("%s %s failed", request.method, request.path)
            found = _Problem(500, "Internal error", "the node's log has the details")
        body = {"type": "about:blank", "title": found.title, "status": found.status, "detail": found.detail}
        return Response(json.dumps(body), mimetype="application/problem+json"), found.status

    return app


def _explain(error: Exception) -> _Problem | None:
    if isinstance(error, _Problem):
        return error
    if isinstance(error, WrongEpisode):
        return _Problem(409, "Another episode", str(error))
    if isinstance(error, ActivationError):
        return _Problem(409, "Revision refused", str(error))
    if isinstance(error, OutboxError):
        return _Problem(503, "Records wait", str(error))
    if isinstance(error, ProbeTimeout):
        return _Problem(503, "No snapshot", str(error))
    if isinstance(error, HTTPException):
        return _Problem(error.code or 500, error.name, error.description or error.name)
    return None


def _receive_payload(body: Handover) -> float:
    """Read a task's bytes; the real seconds from the request's first byte to its last."""
    expected = max(1, -(-int(body.size_bits) // 8))
    if request.content_length != expected:
        raise _Problem(
            422,
            "Impossible value",
            f"the body has {request.content_length} bytes; a task of {body.size_bits:g} bits has {expected}",
        )
    received = 0
    began = float(request.environ[_RECEIVED])
    while received < expected:
        part = request.stream.read(min(_READ_BYTES, expected - received))
        if not part:
            raise _Problem(400, "Broken off", f"{received} of {expected} bytes came")
        received += len(part)
    return time.monotonic() - began


def _body(model: type[_Parsed]) -> _Parsed:
    return _parse(model, request.get_data(cache=False))


def _parse(model: type[_Parsed], content: bytes) -> _Parsed:
    try:
        return model.model_validate_json(content)
    except ValidationError as invalid:
        broken = any(problem["type"] == "json_invalid" for problem in invalid.errors())
        raise _Problem(
            400 if broken else 422, "Malformed JSON" if broken else "Impossible value", explain(invalid)
        ) from None


def _json(content: Mapping[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")


def _nothing() -> Response:
    return Response(status=204)


class _TimedRequest(HTTPRequest):
    """Knows when its first line had come: a payload's transmission begins there, not when a handler is reached."""

    def read_request_line(self) -> bool:
        complete: bool = super().read_request_line()  # type: ignore[no-untyped-call]
        self.received_s = time.monotonic()
        return complete


class _TimedConnection(HTTPConnection):
    RequestHandlerClass = _TimedRequest


class _TimedGateway(Gateway_10):
    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        return {**super().get_environ(), _RECEIVED: self.req.received_s}  # type: ignore[no-untyped-call]


class NodeServer:
    """The interface on a port of its own. `address` is known before `start`."""

    def __init__(self, host: str, port: int, threads: int) -> None:
        self._app: Flask | None = None
        self._server = WSGIServer((host, port), self._serve, numthreads=threads, timeout=60, request_queue_size=128)
        self._server.ConnectionClass, self._server.gateway = _TimedConnection, _TimedGateway
        self._server.error_log = lambda *_, **__: None  # type: ignore[method-assign]
        self._server.prepare()
        bound_host, bound_port = self._server.bind_addr[:2]
        self.address = f"http://{bound_host}:{bound_port}"
        self._thread = threading.Thread(target=self._server.serve, name="http", daemon=True)

    def start(self, app: Flask) -> None:
        """Answer requests."""
        self._app = app
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()
        self._thread.join(timeout=5)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Any:
        assert self._app is not None
        return self._app(environ, start_response)


def port_of(bind: str) -> tuple[str, int]:
    """`host:port`. Raises ValueError."""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"OFFLOAD_BIND={bind!r}: write host:port; port 0 chooses a free one")
    return socket.gethostbyname(host or "0.0.0.0"), int(port)  # noqa: S104
