"""Defines the records of an episode: a decision per node and slot, an outcome per task. Defines each field once.

Everything else derives from the fields, in their order:

* the line in a node's outbox: `Record.content`
* the check of a delivered line: `middleware/database/record_checks.py`
* the columns of the tables: `middleware/database/schema.py`

A field that is added later needs a migration, and a default: the value of the rows and lines that were written before.
Durations are model seconds. In an outcome they are measured, and 0 for stages that were not reached.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin, get_type_hints

from offload.outcomes import Outcome, end_slot
from offload.tasks import Task

CONTROLLER: Final = -1
"""`written_by` of what the controller records at the close."""
EPISODE_UID: Final = "episode_uid"
"""The only field that is not a column: the database has it in the episode's row."""


@dataclass(frozen=True)
class Size:
    """What a value may take at most: a whole number bits with its sign, a text characters, bytes their number."""

    most: int


@dataclass(frozen=True)
class Float32:
    """Bytes that contain little-endian float32, which are finite. nan_allowed: NaN has a meaning there"""

    nan_allowed: bool = False


Whole = Annotated[int, Size(32)]
Small = Annotated[int, Size(16)]

# For 1000 nodes, the most that the settings allow: 5 values per node and a few; one value, or one bit, per node.
_OBSERVATION = Size(24576)
_PER_NODE = Size(4096)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every record has. table: where it is stored; key: by which fields, within a run"""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]

    episode: Whole  # its number within the run
    episode_uid: Annotated[str, Size(32)]  # its identity: a record of another database's episode is refused
    slot: Whole

    def content(self) -> dict[str, Any]:
        """Plain data: `table`, then every field in order; an enumeration's value as its text, bytes as they are."""
        content = {"table": self.table, **vars(self)}
        for name in _ENUMERATIONS[self.table]:
            content[name] = content[name].value
        return content


@dataclass(frozen=True, kw_only=True)
class DecisionRecord(Record):
    """What a node saw and did in a slot: one per tick, also without a task. `slot` is 0 … T; T is observation-only."""

    table = "decisions"
    key = "episode", "slot", "node"

    node: Whole
    observation: Annotated[bytes, _OBSERVATION, Float32()]  # by the run's profile
    mask: Annotated[bytes, _PER_NODE]  # `offload.masks.pack_masks` of the N+1 actions
    action: Small  # 0 … N−1 a node, N no task
    model: Annotated[str, Size(64)] | None  # of the actor that decided; None without an actor
    failed: bool = False  # the scheduler raised; the task stayed here
    log_probability: float | None  # None for schedulers without a policy
    scores: Annotated[bytes, _PER_NODE, Float32(nan_allowed=True)] | None  # (N,), NaN for nodes that were not rated
    revision: Whole  # of the live settings that decided
    skew_s: float  # how late the tick was
    decision_s: float  # 0 without a task
    probes: Small  # number of nodes probed
    execution_queue_length: Small
    sending_queue_length: Small  # over all links
    receiving_queue_length: Small  # over all links
    execution_backlog_s: float


@dataclass(frozen=True, kw_only=True)
class OutcomeRecord(Record):
    """The outcome of a task. The owner writes it; for `lost` tasks the controller, at the close."""

    table = "outcomes"
    key = "episode", "slot", "source"

    source: Whole  # the node that received the task
    destination: Whole | None  # None if unknown: lost before a decision
    outcome: Annotated[Outcome, Size(24)]
    skew_s: float  # how late the tick was
    decision_s: float
    transmission_waiting_s: float
    transmission_s: float
    handover_s: float  # travel time of the handover message; not part of the completion
    execution_waiting_s: float
    execution_s: float
    completion_s: float  # from the slot's planned instant to the end
    end_slot: Whole
    late: bool  # dropped because the measured completion passed the deadline
    transfer: Annotated[str, Size(16)] | None  # emulated or payload; None for local tasks
    written_by: Whole  # the owner's index, or `CONTROLLER`

    @classmethod
    def lost(cls, task: Task, *, episode: int, episode_uid: str, slot_s: float, slots: int) -> OutcomeRecord:
        """The record of a task without an outcome. It ends at its deadline, at an unknown node.

        slot_s, slots: length and number of the episode's slots
        """
        return cls(
            episode=episode,
            episode_uid=episode_uid,
            slot=task.slot,
            source=task.source,
            destination=None,
            outcome=Outcome.LOST,
            skew_s=0.0,
            decision_s=0.0,
            transmission_waiting_s=0.0,
            transmission_s=0.0,
            handover_s=0.0,
            execution_waiting_s=0.0,
            execution_s=0.0,
            completion_s=task.deadline_s,
            end_slot=end_slot(task.slot, task.deadline_s, slot_s, slots),
            late=False,
            transfer=None,
            written_by=CONTROLLER,
        )


RECORDS: Final[dict[str, type[Record]]] = {kind.table: kind for kind in (DecisionRecord, OutcomeRecord)}
"""The kinds of records by table."""


@dataclass(frozen=True)
class RecordField:
    """A field of a record as tables and checks need it.

    kind: int, float, bool, str, bytes, or an enumeration of texts; size: see `Size`, 0 for float and bool
    default: of the rows and lines that were written before the field was added; None where there is none
    """

    name: str
    kind: type
    size: int
    is_optional: bool
    float32: Float32 | None
    default: Any


def fields_of(record: type[Record]) -> tuple[RecordField, ...]:
    """The fields of a kind of records, in order."""
    return _FIELDS[record.table]


def enumerations_of(record: type[Record]) -> dict[str, type[StrEnum]]:
    """The fields whose values are texts of an enumeration, with the enumeration."""
    return _ENUMERATIONS[record.table]


def _field(name: str, hint: Any, default: Any) -> RecordField:
    alternatives = [one for one in get_args(hint) if one is not type(None)]
    is_optional = get_origin(hint) is not Annotated and len(alternatives) == 1
    if is_optional:
        hint = alternatives[0]
    kind, *facts = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    size = next((fact.most for fact in facts if isinstance(fact, Size)), 0)
    float32 = next((fact for fact in facts if isinstance(fact, Float32)), None)
    return RecordField(name, kind, size, is_optional, float32, None if default is MISSING else default)


def _fields(record: type[Record]) -> tuple[RecordField, ...]:
    hints = get_type_hints(record, include_extras=True)
    return tuple(_field(field.name, hints[field.name], field.default) for field in dataclasses.fields(record))


_FIELDS: Final = {table: _fields(kind) for table, kind in RECORDS.items()}
_ENUMERATIONS: Final = {
    table: {field.name: field.kind for field in fields if issubclass(field.kind, StrEnum)}
    for table, fields in _FIELDS.items()
}
