"""Plays episodes without delay into a real database through the middleware, as nodes and controller do.

A task succeeds with a probability that depends on its destination. Heuristics choose at random, `drl` uses its
published actor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from small_records import decision_record, outcome_record

from middleware.database import (
    Database,
    EpisodeSummary,
    Run,
    close_episode,
    create_run,
    find_episodes,
    load_network,
    open_episode,
    read_episode_log,
    write_records,
)
from middleware.storage import Storage, fetch_model
from offload.episodes import EpisodeLog, EpisodePlan
from offload.manifest import ACTOR_FILE
from offload.masks import pack_masks
from offload.network import draw_network
from offload.outcomes import Outcome
from offload.profiles import make_profile
from offload.records import Record
from offload.settings import Settings, resolve_settings
from offload.tasks import draw_trace

SMALL: dict[str, Any] = {
    "network": {"nodes": 3, "arrival_probability": [0.5, 1.0]},
    "time": {"slots": 8},
    "learner": {"hidden": [8], "device": "cpu"},
    "offline": {"episodes": 3, "steps": 7, "batch_slots": 4, "checkpoints": 2, "checkpoint_episodes": 1},
    "online": {"episodes": 4, "episodes_per_update": 2, "epochs": 2},
    "evaluation": {"episodes": 2, "methods": ["random", "offline-only", "online-only", "o2o-drl"]},
}


def small_settings(**sections: dict[str, Any]) -> Settings:
    return resolve_settings([SMALL, sections])


def open_run(folder: Path, settings: Settings, url: str | None = None, name: str = "tiny") -> tuple[Database, Run]:
    """A migrated database (SQLite in `folder` unless a URL is given) with a run in it."""
    db = Database.connect(url or f"sqlite:///{folder}/testbed.db")
    db.migrate()
    network = draw_network(settings.network, settings.seed, settings.network.index)
    return db, create_run(db, name, settings, network, {})


def play(
    db: Database, storage: Storage, run: Run, plan: EpisodePlan, *, mixed: str | None = None, missing: bool = False
) -> EpisodeSummary:
    """Play an episode from opening to close. mixed, missing: make it one that must not be used for training."""
    number = begin(db, run, plan)
    return finish(db, storage, run, plan, number, mixed=mixed, missing=missing)


def begin(db: Database, run: Run, plan: EpisodePlan) -> int:
    """Open an episode."""
    number = 1 + max((one.episode for one in find_episodes(db, run, status=None)), default=0)
    return open_episode(db, run, plan, trace_of(db, run, plan), 1, _uid(run, number))


def _uid(run: Run, number: int) -> str:
    return f"{run.number:016x}{number:016x}"


def trace_of(db: Database, run: Run, plan: EpisodePlan):
    settings = run.settings
    return draw_trace(
        settings.tasks, load_network(db, run), settings.time.slot_s, settings.time.slots, settings.seed, plan.trace
    )


def finish(
    db: Database,
    storage: Storage,
    run: Run,
    plan: EpisodePlan,
    number: int,
    *,
    mixed: str | None = None,
    missing: bool = False,
) -> EpisodeSummary:
    """Write an open episode's records and close it."""
    records = _records(storage, run, plan, trace_of(db, run, plan), number)
    if missing:
        del records[0]
    assert write_records(db, run.number, records) == []
    return close_episode(db, run, number, down={}, late_slots=0, mixed=mixed)


def _records(storage: Storage, run: Run, plan: EpisodePlan, trace, number: int) -> list[Record]:
    settings, n = run.settings, trace.nodes
    size = make_profile(settings).size
    random = np.random.default_rng([settings.seed, plan.trace])
    session = None
    if plan.scheduler.model is not None:
        _, files = fetch_model(storage, run.name, plan.scheduler.model)
        session = onnxruntime.InferenceSession(files[ACTOR_FILE], providers=["CPUExecutionProvider"])
    episode = {"episode": number, "episode_uid": _uid(run, number)}
    records: list[Record] = []
    for slot in range(settings.time.slots + 1):
        for node in range(n):
            observation = random.random(size, dtype=np.float32)
            has_task = trace.task(slot, node) is not None
            mask = np.array([has_task] * n + [not has_task])
            logits = np.zeros(n + 1, np.float32)
            if session is not None:
                logits = session.run(["logits"], {"observation": observation[None]})[0][0]
            weights = np.where(mask, np.exp(logits - logits[mask].max()), 0.0)
            probabilities = weights / weights.sum()
            action = int(min((probabilities.cumsum() < random.random()).sum(), n)) if has_task else n
            log_probability = float(np.log(probabilities[action])) if session is not None else None
            records.append(
                decision_record(
                    **episode,
                    slot=slot,
                    node=node,
                    observation=observation.tobytes(),
                    mask=pack_masks(mask).tobytes(),
                    action=action,
                    model=plan.scheduler.model,
                    log_probability=log_probability,
                )
            )
            if has_task:
                success = random.random() < (0.9 if action == 0 else 0.4)
                records.append(
                    outcome_record(
                        **episode,
                        slot=slot,
                        source=node,
                        destination=action,
                        outcome=Outcome.SUCCESS if success else Outcome.DROPPED,
                        execution_s=0.05,
                        completion_s=0.05,
                        end_slot=slot,
                        written_by=node,
                    )
                )
    return records


class InstantSource:
    """An `EpisodeSource` over `play`."""

    def __init__(self, db: Database, storage: Storage, run: Run) -> None:
        self._place = db, storage, run

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        return map(self.play, plans)

    def play(self, plan: EpisodePlan) -> EpisodeLog:
        db, storage, run = self._place
        summary = play(db, storage, run, plan)
        assert summary.verdict == "complete", summary.reason
        return read_episode_log(db, run, summary.episode)
