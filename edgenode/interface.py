"""A node's HTTP interface as data (docs/contracts.md): request bodies, answers, and the operations for OpenAPI.

All values have SI units. Instants are seconds since the episode's start. The bounds are far above every modelled value.
They keep malformed values out of the queues.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from edgenode.facts import NodeTask
from edgenode.reports import Report
from middleware.http.epoch import HEADER
from middleware.http.openapi import LARGEST, PATH, Operation
from offload.limits import LONGEST_DEADLINE_S, MOST_BITS, MOST_CYCLES

_LONGEST_S: Final = 10 * LONGEST_DEADLINE_S
"""The upper bound of a task's elapsed time, which may exceed its deadline."""

_HOST: Final = r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
Address = Annotated[str, Field(pattern=rf"^https?://{_HOST}:[0-9]{{1,4}}[0-9]?$")]
"""The address of a pod. An IPv6 address stands in brackets."""
Episode = Annotated[int, Field(ge=1, le=LARGEST)]
Uid = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Slot = Annotated[int, Field(ge=0, le=LARGEST)]
Index = Annotated[int, Field(ge=0, le=LARGEST)]
Bits = Annotated[float, Field(gt=0, le=MOST_BITS)]
Cycles = Annotated[float, Field(gt=0, le=MOST_CYCLES)]
Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S)]
Instant = Annotated[float, Field(ge=-1e12, le=1e12)]


class Body(BaseModel):
    """A request body. It may not have unknown fields, texts instead of numbers, or infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class OpenEpisode(Body):
    """`POST /v1/episodes`.

    peers: the addresses of all nodes, by index
    start_s: the start on the controller's clock, for a node that joins an episode that has started
    """

    episode: Episode
    episode_uid: Uid
    trace: int = Field(ge=0, lt=2**32)
    controller: Address
    revision: int = Field(ge=0, le=LARGEST)
    peers: list[Address] = Field(min_length=1, max_length=1000)
    start_s: Instant | None = None


class StartEpisode(Body):
    """`POST /v1/episodes/<episode>/start`. `start_s` is an instant of the controller's clock."""

    start_s: Instant


class TickTask(Body):
    """The task in a tick."""

    size_bits: Bits
    cycles: Cycles
    deadline_s: float = Field(gt=0, le=LONGEST_DEADLINE_S)


class Tick(Body):
    """`POST /v1/ticks`."""

    episode: Episode
    slot: Slot
    task: TickTask | None


class Announcement(Body):
    """`POST /v1/announcements` and `POST /v1/confirmations`."""

    episode: Episode
    slot: Slot
    source: Index
    cycles: Cycles
    forget_after_s: Seconds


class Withdrawal(Body):
    """`POST /v1/withdrawals`."""

    episode: Episode
    slot: Slot
    source: Index


class Handover(Body):
    """`POST /v1/handovers`, and a task's line on a link."""

    episode: Episode
    episode_uid: Uid
    slot: Slot
    source: Index
    size_bits: Bits
    cycles: Cycles
    deadline_s: float = Field(gt=0, le=LONGEST_DEADLINE_S)
    elapsed_at_start_s: Seconds
    transmission_waiting_s: Seconds
    transmission_s: Seconds
    skew_s: Seconds
    decision_s: Seconds


TASK_FIELDS: Final = sorted({field.name for field in fields(NodeTask)} & Handover.model_fields.keys())
"""The fields of a task that its `Handover` has."""


class Overload(Body):
    """`POST /v1/overload`."""

    node: Index
    overloaded: bool
    sequence: int = Field(ge=0, le=2**63 - 1)


class State(BaseModel):
    """The answer of `/healthz` and `/readyz`."""

    status: str


class Opened(BaseModel):
    """The current revision and model, and the greatest possible error of the mapped clock in real seconds."""

    revision: int
    model: str | None
    offset_error_s: float


class Closed(BaseModel):
    """How many records of the episode this node had, and how many tasks it still owned and abandoned."""

    outcomes: int
    decisions: int
    abandoned: int


class EpisodeProgress(BaseModel):
    """Counts of an episode's tasks at this node, at one instant. `incarnation` changes when the node is restarted."""

    incarnation: int
    owned: int
    accepted: int
    settled: int
    ended: int


class Accepted(BaseModel):
    """Whether the task is new to this node. In both cases the node owns it from now on."""

    accepted: bool


class Queues(BaseModel):
    """Numbers of tasks in the queues."""

    execution: int
    sending: int
    receiving: int


class NodeStatus(BaseModel):
    """`GET /v1/status`."""

    run: str
    node: int
    episode: int | None
    slot: int | None
    pending: int
    queues: Queues
    scheduler: str | None
    model: str | None
    revision: int
    problem: str | None
    outbox: int
    outbox_in_memory: int
    outbox_problem: str | None
    refused_records: int
    dropped_records: int


_EPISODE: Final[dict[str, Any]] = {"type": "integer", "minimum": 1, "maximum": LARGEST}
_EPOCH: Final[dict[str, dict[str, Any]]] = {HEADER: {"type": "integer", "minimum": 1, "maximum": LARGEST}}
"""The header with the epoch of the controller's lease."""
_NODE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_CYCLES: Final[dict[str, Any]] = {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_CYCLES}
_SLOT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": LARGEST}

OPERATIONS: Final = (
    Operation("GET", "/healthz", "whether the process is alive", answer=State),
    Operation("GET", "/readyz", "whether a scheduler is active", answer=State, refusals=(503,)),
    Operation("GET", "/metrics", "metrics for Prometheus", answer="text/plain"),
    Operation("GET", PATH, "this description", answer="application/json"),
    Operation("GET", "/v1/status", "queues, scheduler, undelivered records", answer=NodeStatus),
    Operation(
        "POST", "/v1/episodes", "open an episode", OpenEpisode, Opened,
        refusals=(409, 412, 424, 503), headers=_EPOCH, addressed=True,
    ),
    Operation(
        "POST", "/v1/episodes/{episode}/start", "start it at an instant", StartEpisode,
        status=204, refusals=(404, 409, 412), parameters={"episode": _EPISODE}, headers=_EPOCH, addressed=True,
    ),
    Operation(
        "GET", "/v1/episodes/{episode}/progress", "counts of its tasks at this node", answer=EpisodeProgress,
        refusals=(404, 409, 503), parameters={"episode": _EPISODE}, addressed=True,
    ),
    Operation(
        "POST", "/v1/episodes/{episode}/close", "close it and deliver all its records", answer=Closed,
        refusals=(404, 409, 412, 413, 422, 503), parameters={"episode": _EPISODE}, headers=_EPOCH, addressed=True,
    ),
    Operation(
        "POST", "/v1/ticks", "a slot's tick", Tick, status=202, refusals=(409, 412), headers=_EPOCH, addressed=True
    ),
    Operation(
        "GET", "/v1/reports", "a probe; with source and cycles it reserves its task", answer=Report,
        refusals=(409, 422, 503),
        parameters={"episode": _EPISODE, "slot": _SLOT, "source": _NODE, "cycles": _CYCLES},
        optional=("source", "cycles"), addressed=True,
    ),
    Operation(
        "POST", "/v1/announcements", "announce a task of this source", Announcement, status=204, refusals=(409,),
        addressed=True,
    ),
    Operation(
        "POST", "/v1/confirmations", "announce a task, and get this node's work at this instant", Announcement, Report,
        refusals=(409, 503), addressed=True,
    ),
    Operation(
        "POST", "/v1/withdrawals", "withdraw an announced task", Withdrawal, status=204, refusals=(409,), addressed=True
    ),
    Operation("POST", "/v1/handovers", "hand a task over", Handover, Accepted, refusals=(409, 503), addressed=True),
    Operation(
        "GET", "/v1/link", "make the connection a link (Upgrade: offload-link)", status=101, refusals=(409, 422, 426),
        parameters={"episode": _EPISODE, "source": _NODE},
        addressed=True,
    ),
    Operation("POST", "/v1/overload", "another node's overload bit", Overload, status=204, addressed=True),
)  # fmt: skip
"""All operations of a node. A test compares them with the routes."""
