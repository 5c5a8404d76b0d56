"""A node's HTTP interface as data (docs/contracts.md): what is asked, what is answered, and the operations as OpenAPI describes them.

SI units; instants are seconds since the episode's start. The bounds are far above anything that a model means, and keep what a
confused sender writes from reaching the queues.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from edgenode.reports import Report
from middleware.http.epoch import HEADER
from middleware.http.openapi import LARGEST, PATH, Operation
from offload.limits import LONGEST_DEADLINE_S, MOST_BITS, MOST_CYCLES

_LONGEST_S: Final = 10 * LONGEST_DEADLINE_S
"""Of what has passed of a task's time: it may be behind its deadline."""

_HOST: Final = r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
Address = Annotated[str, Field(pattern=rf"^https?://{_HOST}:[0-9]{{1,4}}[0-9]?$")]
"""Of a pod; an IPv6 address stands in brackets."""
Episode = Annotated[int, Field(ge=1, le=LARGEST)]
Uid = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Slot = Annotated[int, Field(ge=0, le=LARGEST)]
Index = Annotated[int, Field(ge=0, le=LARGEST)]
Bits = Annotated[float, Field(gt=0, le=MOST_BITS)]
Cycles = Annotated[float, Field(gt=0, le=MOST_CYCLES)]
Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S)]
Instant = Annotated[float, Field(ge=-1e12, le=1e12)]


class Body(BaseModel):
    """What is asked: nothing unknown, no text for a number, no infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class OpenEpisode(Body):
    """`POST /v1/episodes`: the addresses of all nodes by index; `start_s` on the controller's clock, for one that joins again."""

    episode: Episode
    episode_uid: Uid
    trace: int = Field(ge=0, lt=2**32)
    controller: Address
    revision: int = Field(ge=0, le=LARGEST)
    peers: list[Address] = Field(min_length=1, max_length=1000)
    start_s: Instant | None = None


class StartEpisode(Body):
    """`POST /v1/episodes/<episode>/start`: an instant of the controller's clock."""

    start_s: Instant


class TickTask(Body):
    """The task of a tick."""

    size_bits: Bits
    cycles: Cycles
    deadline_s: float = Field(gt=0, le=LONGEST_DEADLINE_S)


class Tick(Body):
    """`POST /v1/ticks`."""

    episode: Episode
    slot: Slot
    task: TickTask | None


class Announcement(Body):
    """`POST /v1/announcements`."""

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
    """`POST /v1/handovers`, and a line of a link."""

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


class Overload(Body):
    """`POST /v1/overload`."""

    node: Index
    overloaded: bool
    sequence: int = Field(ge=0, le=2**63 - 1)


class State(BaseModel):
    """Of `/healthz` and `/readyz`."""

    status: str


class Opened(BaseModel):
    """The revision and the model that decide; the greatest possible error of the mapped clock in real seconds."""

    revision: int
    model: str | None
    offset_error_s: float


class Closed(BaseModel):
    """How many records of the episode this node had; how many tasks it still owned, which it has given up."""

    outcomes: int
    decisions: int
    abandoned: int


class Progress(BaseModel):
    """What the node has done with an episode's tasks, at one instant; `incarnation` changes when it is restarted."""

    incarnation: int
    owned: int
    accepted: int
    settled: int
    ended: int


class Accepted(BaseModel):
    """Whether the task is new here; either way it is owned by this node from now on."""

    accepted: bool


class Queues(BaseModel):
    """Lengths."""

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
"""Of the controller's lease."""
_SLOT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": LARGEST}

OPERATIONS: Final = (
    Operation("GET", "/healthz", "whether the process lives", answer=State),
    Operation("GET", "/readyz", "whether a scheduler is active", answer=State, refusals=(503,)),
    Operation("GET", "/metrics", "for Prometheus", answer="text/plain"),
    Operation("GET", PATH, "this description", answer="application/json"),
    Operation("GET", "/v1/status", "queues, scheduler, records that wait", answer=NodeStatus),
    Operation(
        "POST", "/v1/episodes", "open an episode", OpenEpisode, Opened, refusals=(409, 412, 424, 503), headers=_EPOCH, addressed=True
    ),
    Operation(
        "POST", "/v1/episodes/{episode}/start", "begin it at an instant", StartEpisode,
        status=204, refusals=(404, 409, 412), parameters={"episode": _EPISODE}, headers=_EPOCH, addressed=True,
    ),
    Operation(
        "GET", "/v1/episodes/{episode}/progress", "what it has done with the tasks", answer=Progress,
        refusals=(404, 409, 503), parameters={"episode": _EPISODE}, addressed=True,
    ),
    Operation(
        "POST", "/v1/episodes/{episode}/close", "deliver all records of it", answer=Closed,
        refusals=(404, 409, 412, 413, 422, 503), parameters={"episode": _EPISODE}, headers=_EPOCH, addressed=True,
    ),
    Operation("POST", "/v1/ticks", "a slot's tick", Tick, status=202, refusals=(409, 412), headers=_EPOCH, addressed=True),
    Operation(
        "GET", "/v1/reports", "a probe", answer=Report, refusals=(409, 422, 503),
        parameters={"episode": _EPISODE, "slot": _SLOT}, addressed=True,
    ),
    Operation(
        "POST", "/v1/announcements", "a task is on its way here", Announcement, status=204, refusals=(409,),
        addressed=True,
    ),
    Operation("POST", "/v1/withdrawals", "it will not come", Withdrawal, status=204, refusals=(409,), addressed=True),
    Operation("POST", "/v1/handovers", "hand a task over", Handover, Accepted, refusals=(409, 503), addressed=True),
    Operation(
        "GET", "/v1/link", "make the connection a link (Upgrade: offload-link)", status=101, refusals=(409, 422, 426),
        parameters={"episode": _EPISODE, "source": {"type": "integer", "minimum": 0, "maximum": LARGEST}}, addressed=True,
    ),
    Operation("POST", "/v1/overload", "another node's overload bit", Overload, status=204, addressed=True),
)  # fmt: skip
"""Everything that a node answers; a test compares it with the routes."""
