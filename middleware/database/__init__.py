"""Stores records in a relational database: SQLite embedded, MySQL in production, one schema (`schema.py`) for both.

* `engine`: connections and transactions; `errors`: database errors as types of this package
* `migrations`: schema versions
* `leases`: which process controls a run
* `runs`, `records` (with `record_checks` and `delivery`), `models`, `pod_events`: rows by subject
* `episode_opening`, `episode_closing` (with `episode_verdicts`), `episode_summaries`, `traces`, `logs`: episodes
* `conservation`, `measurements`: queries of the evaluation
"""

from middleware.database.conservation import Conservation, ConservationError, count_conservation
from middleware.database.delivery import deliver_records
from middleware.database.engine import Database
from middleware.database.episode_closing import abort_episode, close_episode, forget_episodes
from middleware.database.episode_opening import open_episode
from middleware.database.episode_summaries import EpisodeSummary, find_episodes
from middleware.database.errors import SchemaError
from middleware.database.leases import LeaseHeld, LeaseHolder, LeaseLost, current_epoch, holder_of, new_holder
from middleware.database.location import sqlite_file
from middleware.database.logs import read_episode_log, stream_episode_logs
from middleware.database.measurements import NOWHERE, DecisionColumns, TaskColumns, read_decisions, read_tasks
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
from middleware.database.traces import load_trace

__all__ = [
    "FOLDER",
    "NOWHERE",
    "PLAYED_BY",
    "TWIN",
    "Conservation",
    "ConservationError",
    "Database",
    "DecisionColumns",
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
    "TaskColumns",
    "UnknownRun",
    "abort_episode",
    "close_episode",
    "count_conservation",
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
    "read_decisions",
    "read_episode_log",
    "read_tasks",
    "record_model",
    "record_pod_event",
    "sqlite_file",
    "stream_episode_logs",
    "write_records",
]
