"""The controller's REST interface (docs/contracts.md) and its page for people: Flask on cheroot.

Concurrency: cheroot's worker threads run the handlers; one that waits for an episode's end holds its worker.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, render_template, request
from sqlalchemy.exc import DBAPIError

from controller.episodes import BusyError, OpeningError
from controller.interface import OPERATIONS, EpisodeRequest, HotChange
from controller.nodes import NodeClients
from middleware.access import OPEN_PATHS, Access
from middleware.database import find_episodes, find_models, load_trace
from middleware.openapi import LARGEST, PATH, describe
from middleware.outages import ServiceAway
from middleware.problems import HTTPProblem, as_response, common_problem, parsed
from middleware.server import PodServer, bound
from offload.episodes import EpisodePlan
from offload.settings import SettingsError
from offload.tasks import Trace

if TYPE_CHECKING:
    from controller.service import Controller

_LONGEST_WAIT_S = 60.0
_THREADS = 12
_LONGEST_BODY = 32 * 1024 * 1024
"""A recorded trace of a hundred nodes and some thousand slots."""


def make_app(controller: Controller) -> Flask:
    """The interface of a controller."""
    app = Flask("controller", root_path=str(Path(__file__).parent))
    db, run = controller.database, controller.run

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        _need_ready()
        return _json({"status": "ready"})

    @app.get("/metrics")
    def prometheus() -> Response:
        with suppress(ServiceAway, DBAPIError):  # whoever looks at the metrics then wants the others all the more
            now = time.time()
            alive = [one for one in controller.registry.instances("edgenode", run.name) if one.alive(now)]
            controller.metrics.nodes_alive.set(len(alive))
            record = controller.configuration.read(run.name)
            controller.metrics.fallback.set(record is not None and controller.fallback(record) is not None)
        return Response(controller.metrics.text(), mimetype="text/plain; version=0.0.4")

    @app.get(PATH)
    def description() -> Response:
        secured = controller.access.token is not None
        return _json(describe("offload-testbed: the controller", OPERATIONS, secured, OPEN_PATHS))

    @app.get("/v1/clock")
    def clock() -> Response:
        return _json({"monotonic_s": time.monotonic()})

    @app.get("/v1/status")
    def status() -> Response:
        return _json(status_of(controller))

    @app.get("/")
    def page() -> str:
        return render_template("status.html", status=status_of(controller), settings=run.settings)

    @app.post("/v1/episodes")
    def post_episode() -> tuple[Response, int]:
        _need_ready()
        body = parsed(EpisodeRequest, request.get_data())
        plan = EpisodePlan(
            body.phase, body.method, body.trace, body.scheduler, parameters=body.parameters, model=body.model
        )
        recorded = None if body.tasks is None else _recorded(body.tasks)
        return _json({"episode": controller.ask_for(plan, recorded)}), 202

    def _recorded(tasks: Mapping[str, Any]) -> Trace:
        settings = run.settings.time
        try:
            trace = Trace.from_json({"slots": settings.slots, **tasks}, controller.network.nodes)
        except ValueError as wrong:
            raise HTTPProblem(422, "Impossible trace", f"tasks: {wrong}") from None
        if trace.slots != settings.slots or trace.slot_s != settings.slot_s:
            raise HTTPProblem(
                422,
                "Impossible trace",
                f"tasks: {trace.slots} slots of {trace.slot_s:g} s; this run has {settings.slots} of {settings.slot_s:g} s",
            )
        return trace

    @app.get(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>")
    def get_episode(episode: int) -> Response:
        controller.wait_for(episode, _wait_s(request.args.get("wait_s", "0")))
        found = find_episodes(db, run, episode=episode, status=None)
        if not found:
            raise HTTPProblem(404, "No such episode", f"run '{run.name}' has no episode {episode}")
        one, state = found[0], controller.episodes.state
        playing = state is not None and state.episode == episode
        return _json(
            {
                "episode": episode,
                "status": one.status,
                "verdict": one.verdict,
                "reason": one.reason,
                "slot": state.slot if playing and state else None,
                "slots": run.settings.time.slots,
                "tasks": one.tasks,
                "successes": one.successes,
                "outcomes": dict(one.outcomes),
            }
        )

    @app.post(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>/abort")
    def abort(episode: int) -> Response:
        if not controller.abort(episode, "aborted by request"):
            raise HTTPProblem(409, "Not being played", f"episode {episode} is not the one that is being played")
        return Response(status=204)

    @app.get(f"/v1/episodes/<int(min=1, max={LARGEST}):episode>/trace")
    def trace(episode: int) -> Response:
        try:
            return _json(load_trace(db, run, episode).to_json())
        except LookupError as missing:
            raise HTTPProblem(404, "No such episode", str(missing)) from None

    @app.get("/v1/network")
    def network() -> Response:
        return _json(controller.network.to_json())

    @app.get("/v1/configuration")
    def configuration() -> Response:
        record = controller.configuration.read(run.name)
        nodes = controller.registry.instances("edgenode", run.name)
        return _json(
            {
                "revision": record.revision if record else 0,
                "hot": record.hot if record else {},
                "written_by": record.written_by if record else None,
                "acknowledged": {one.instance: one.metadata.get("revision", 0) for one in nodes},
            }
        )

    @app.patch("/v1/configuration")
    def change() -> Response:
        body = parsed(HotChange, request.get_data())
        return _json({"revision": controller.change(body.hot, body.by).revision})

    @app.get("/v1/models")
    def models() -> Response:
        record = controller.configuration.read(run.name)
        active = record.hot["scheduler"].get("model") if record else None
        rows = [
            {"version": row.version, "phase": row.phase, "method": row.method, "number": row.number}
            for row in find_models(db, run)
        ]
        return _json({"active": active, "models": rows})

    @app.post("/v1/models/<version>/activate")
    def activate(version: str) -> Response:
        try:
            return _json({"revision": controller.activate(version).revision})
        except LookupError as missing:
            raise HTTPProblem(404, "No such model", str(missing)) from None

    @app.post("/v1/serve")
    def serve() -> Response:
        _need_ready()
        controller.set_serving(True)
        return Response(status=204)

    @app.delete("/v1/serve")
    def stop_serving() -> Response:
        controller.set_serving(False)
        return Response(status=204)

    @app.get("/v1/runs/<name>/report")
    def report(name: str) -> Response:
        try:
            content = controller.storage.read(f"reports/{name}/report.html")
        except (FileNotFoundError, ValueError, OSError) as missing:
            if isinstance(missing, ServiceAway):
                raise
            # A name that the storage cannot have is one of no run.
            raise HTTPProblem(404, "No report", f"there is no report of run '{name}' yet") from None
        return Response(content, mimetype="text/html")

    def _need_ready() -> None:
        if not controller.ready:
            raise HTTPProblem(503, "Not ready", controller.failure or "the nodes are still starting")

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Any:
        found = _explain(error)
        if found is None:
            app.logger.exception("%s %s failed", request.method, request.path)
            found = HTTPProblem(500, "Internal error", "the controller's log has the details")
        return as_response(found)

    return app


def status_of(controller: Controller) -> dict[str, Any]:
    """Nodes, episode, hot keys, and the success rate of the last episodes, for REST and the page."""
    now, run = time.time(), controller.run
    record = controller.configuration.read(run.name)
    instances = {int(one.instance): one for one in controller.registry.instances("edgenode", run.name)}
    alive = {node: one.address for node, one in instances.items() if one.alive(now)}
    client = NodeClients(alive, run.uid, controller.access)
    answers = client.ask("GET", "/v1/status", dict.fromkeys(alive), 1.0)
    client.close()
    pods = {} if controller.pods is None else controller.pods.seen()
    nodes = []
    for node in range(controller.network.nodes):
        instance, answer = instances.get(node), answers.get(node)
        inside = answer.body if answer is not None and answer.ok else {}
        nodes.append(
            {
                "node": node,
                "address": instance.address if instance else None,
                "alive": node in alive,
                "heartbeat_age_s": round(now - instance.heartbeat_at, 1) if instance else None,
                "capacity_hz": float(controller.network.capacity_hz[node]),
                "arrival_probability": float(controller.network.arrival_probability[node]),
                "pod": pods[node].to_json() if node in pods else None,
                **{
                    key: inside.get(key)
                    for key in ("revision", "scheduler", "model", "problem", "pending", "queues", "outbox")
                },
            }
        )
    state = controller.episodes.state
    last = list(controller.last)
    tasks, successes = sum(one.tasks for one in last), sum(one.successes for one in last)
    return {
        "run": run.name,
        "serving": controller.serving,
        "continuously": controller.continuously,
        "trouble": controller.trouble,
        "fallback": controller.fallback(record) if record else None,
        "nodes": nodes,
        "episode": None
        if state is None
        else {"episode": state.episode, "method": state.plan.method, "slot": state.slot, "slots": state.slots},
        "hot": record.hot if record else {},
        "revision": record.revision if record else 0,
        "last_episodes": {
            "episodes": len(last),
            "tasks": tasks,
            "success_rate": successes / tasks if tasks else None,
            "schedulers": sorted({one.plan.method for one in last}),
        },
    }


def _explain(error: Exception) -> HTTPProblem | None:
    if isinstance(error, BusyError):
        return HTTPProblem(409, "Busy", str(error))
    if isinstance(error, OpeningError):
        return HTTPProblem(502, "Could not open", str(error))
    if isinstance(error, SettingsError):
        return HTTPProblem(422, "Impossible value", str(error))
    return common_problem(error)


def _wait_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise HTTPProblem(422, "Impossible value", f"wait_s: {text!r}; seconds are needed, 0 or more")
    return min(seconds, _LONGEST_WAIT_S)


def _json(content: Mapping[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")


def controller_server(bind: str, access: Access) -> PodServer:
    """The controller's server. Raises ValueError for an impossible `bind`."""
    return PodServer(*bound(bind), _THREADS, _LONGEST_BODY, access)
