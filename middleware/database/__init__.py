"""Records in a relational database: SQLite embedded, MySQL in production, one schema (`schema.py`) for both.

`engine`: connecting. `errors`: its errors in our types. `leases`: who controls a run. `runs`, `episodes`, `records` (with
`record_checks` and `delivery`), `logs`, `models`, `pod_events`: what is stored, by subject. `migrations`: versions.
"""

from middleware.database.delivery import deliver_records
from middleware.database.engine import Database
from middleware.database.episodes import (
    ConservationError,
    EpisodeSummary,
    abort_episode,
    close_episode,
    find_episodes,
    forget_episodes,
    load_trace,
    open_episode,
)
from middleware.database.errors import SchemaError
from middleware.database.leases import LeaseHeld, LeaseHolder, LeaseLost, current_epoch, holder_of, new_holder
from middleware.database.location import sqlite_file
from middleware.database.logs import read_episode_log, stream_episode_logs
from middleware.database.models import ModelRow, find_models, record_model
from middleware.database.pod_events import PodEvent, find_pod_events, record_pod_event
from middleware.database.records import Refused, write_records
from middleware.database.runs import (
    FOLDER,
    PLAYED_BY,
    TWIN,
    Run,
    RunConflict,
    UnknownRun,
    create_run,
    list_runs,
    load_network,
    load_run,
)

__all__ = [
    "FOLDER",
    "PLAYED_BY",
    "TWIN",
    "ConservationError",
    "Database",
    "EpisodeSummary",
    "LeaseHeld",
    "LeaseHolder",
    "LeaseLost",
    "ModelRow",
    "PodEvent",
    "Refused",
    "Run",
    "RunConflict",
    "SchemaError",
    "UnknownRun",
    "abort_episode",
    "close_episode",
    "create_run",
    "current_epoch",
    "deliver_records",
    "find_episodes",
    "find_models",
    "find_pod_events",
    "forget_episodes",
    "holder_of",
    "list_runs",
    "load_network",
    "load_run",
    "load_trace",
    "new_holder",
    "open_episode",
    "read_episode_log",
    "record_model",
    "record_pod_event",
    "sqlite_file",
    "stream_episode_logs",
    "write_records",
]
