"""Defines the controller's REST interface (docs/contracts.md): request bodies, answers, operations for OpenAPI.

The routes in `controller/http/` use these models to parse requests and to answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from middleware.http.openapi import LARGEST, PATH, Operation
from offload.episodes import EpisodePhase
from offload.scheduler_choice import ParameterValue


class Body(BaseModel):
    """A request's body. Unknown keys, strings for numbers, and infinite numbers are rejected."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class EpisodeRequest(Body):
    """`POST /v1/episodes`. tasks: a recorded trace, which replaces the trace drawn for the number `trace`."""

    phase: EpisodePhase = Field(strict=False)
    method: str = Field(min_length=1, max_length=64)
    trace: int = Field(ge=0, lt=2**32)
    scheduler: str = Field(min_length=1, max_length=64)
    parameters: dict[Annotated[str, Field(max_length=64)], ParameterValue] = Field({}, max_length=64)
    model: str | None = Field(None, min_length=1, max_length=64)
    tasks: dict[str, Any] | None = None


class LiveSettingsChange(Body):
    """`PATCH /v1/configuration`. by: the author of the change."""

    live_settings: dict[str, Any] = Field(min_length=1, max_length=64)
    by: str = Field("REST", min_length=1, max_length=64)


class State(BaseModel):
    """`GET /healthz` and `GET /readyz`."""

    status: str


class Clock(BaseModel):
    """The controller's monotonic clock."""

    monotonic_s: float


class Asked(BaseModel):
    """The number of the requested episode."""

    episode: int


class Episode(BaseModel):
    """The state of an episode. slot: the current slot; null if the episode is not being played."""

    episode: int
    status: str
    verdict: str | None
    reason: str | None
    slot: int | None
    slots: int
    tasks: int
    successes: int
    outcomes: dict[str, int]


class Revision(BaseModel):
    """The revision of the live settings."""

    revision: int


class Configuration(BaseModel):
    """The live settings. acknowledged: by node index, the revision that the node has applied."""

    revision: int
    live_settings: dict[str, Any]
    written_by: str | None
    acknowledged: dict[str, int]


class Model(BaseModel):
    """A version of the model."""

    version: str
    phase: str
    method: str
    number: int


class Models(BaseModel):
    """All versions, and the active one."""

    active: str | None
    models: list[Model]


class Pod(BaseModel):
    """The pod of an edge node.

    machine: the cluster's machine that it runs on
    reason: why it does not run, or why it ended last
    """

    model_config = ConfigDict(frozen=True)

    name: str
    phase: str
    ready: bool
    leaving: bool
    restarts: int
    machine: str | None
    reason: str | None


class Node(BaseModel):
    """An edge node. Values that the node itself reports are null if it does not answer.

    clock: what is wrong with its machine's clock
    pod: null outside Kubernetes
    """

    node: int
    address: str | None
    alive: bool
    heartbeat_age_s: float | None
    clock: str | None
    capacity_hz: float
    arrival_probability: float
    pod: Pod | None
    revision: int | None
    scheduler: str | None
    model: str | None
    problem: str | None
    pending: int | None
    queues: dict[str, int] | None
    outbox: int | None
    outbox_problem: str | None


class Playing(BaseModel):
    """The episode that is being played."""

    episode: int
    method: str
    slot: int | None
    slots: int


class LastEpisodes(BaseModel):
    """Totals of the episodes that were closed last."""

    episodes: int
    tasks: int
    success_rate: float | None
    schedulers: list[str]


class Status(BaseModel):
    """`GET /v1/status`.

    serving: whether arrivals are continuous now
    continuously: whether the controller was started for continuous arrivals
    trouble: why no episode can be opened
    fallback: why the fallback scheduler decides
    """

    run: str
    serving: bool
    continuously: bool
    trouble: str | None
    fallback: str | None
    nodes: list[Node]
    episode: Playing | None
    live_settings: dict[str, Any]
    revision: int
    last_episodes: LastEpisodes


class Trace(BaseModel):
    """`tasks.json`."""

    episode: int
    slot_s: float
    slots: int
    tasks: list[dict[str, float]]


class Network(BaseModel):
    """`net.json`."""

    nodes: list[dict[str, float]]
    rates_bps: list[list[float]]
    link_failure_rates: list[list[float]]


_EPISODE: Final[dict[str, Any]] = {"episode": {"type": "integer", "minimum": 1, "maximum": LARGEST}}
_WAIT: Final[dict[str, Any]] = {"wait_s": {"type": "number", "minimum": 0}}

OPERATIONS: Final = (
    Operation("GET", "/healthz", "whether the process is alive", answer=State),
    Operation("GET", "/readyz", "whether episodes can be played", answer=State, refusals=(503,)),
    Operation("GET", "/metrics", "for Prometheus", answer="text/plain"),
    Operation("GET", PATH, "this description", answer="application/json"),
    Operation("GET", "/", "the status as a page", answer="text/html", refusals=(424, 503)),
    Operation("GET", "/v1/clock", "the monotonic clock", answer=Clock),
    Operation("GET", "/v1/status", "nodes, episode, live settings", answer=Status, refusals=(424, 503)),
    Operation(
        "POST", "/v1/episodes", "play an episode", EpisodeRequest, Asked, status=202, refusals=(409, 424, 502, 503)
    ),
    Operation(
        "GET", "/v1/episodes/{episode}", "its state, after waiting for its end for `wait_s`", answer=Episode,
        refusals=(404, 422, 424, 503), parameters={**_EPISODE, **_WAIT}, optional=("wait_s",),
    ),
    Operation(
        "POST", "/v1/episodes/{episode}/abort", "end it without a verdict", status=204,
        refusals=(404, 409, 413), parameters=_EPISODE,
    ),
    Operation(
        "GET", "/v1/episodes/{episode}/trace", "its tasks", answer=Trace, refusals=(404, 424, 503), parameters=_EPISODE
    ),
    Operation("GET", "/v1/network", "capacities, rates, failure rates", answer=Network),
    Operation("GET", "/v1/configuration", "the live settings", answer=Configuration, refusals=(424, 503)),
    Operation("PATCH", "/v1/configuration", "change live settings", LiveSettingsChange, Revision, refusals=(424, 503)),
    Operation("GET", "/v1/models", "all versions", answer=Models, refusals=(424, 503)),
    Operation(
        "POST", "/v1/models/{version}/activate", "make a version the active one", answer=Revision,
        refusals=(404, 405, 413, 422, 424, 503), parameters={"version": {"type": "string", "minLength": 1}},
    ),
    Operation("POST", "/v1/serve", "begin continuous arrivals", status=204, refusals=(413, 503)),
    Operation("DELETE", "/v1/serve", "end them", status=204, refusals=(413,)),
    Operation(
        "GET", "/v1/runs/{name}/report", "the report of a run", answer="text/html", refusals=(404, 503),
        parameters={"name": {"type": "string", "minLength": 1}},
    ),
)  # fmt: skip
"""All operations of the controller. A test compares them with the routes."""
