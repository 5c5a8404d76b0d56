"""Writes a finished run into a real database through the middleware, as nodes, controller and trainer do.

A small queueing model plays the episodes, so that methods really differ: executors and links are FIFO, tasks miss
deadlines, and failures occur. Measured durations have a noise, whose size the tests set.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from small_records import decision_record, outcome_record

from middleware.database import (
    Database,
    EpisodeSummary,
    Run,
    close_episode,
    create_run,
    open_episode,
    record_model,
    write_records,
)
from offload.draws import Purpose, failure_instant_s
from offload.episodes import CHECKPOINT_TRACES, COLLECT_TRACES, EVALUATION_TRACES, ONLINE_TRACES, EpisodePlan
from offload.manifest import ModelManifest
from offload.masks import pack_masks
from offload.network import Network, draw_network
from offload.outcomes import Outcome, end_slot
from offload.records import OutcomeRecord, Record
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, resolve_settings
from offload.tasks import Trace, draw_trace

HEURISTICS = ("local", "random", "ratc", "sed")
LEARNED = ("offline-only", "online-only", "o2o-drl")

SETTINGS: dict[str, Any] = {
    "seed": 7,
    "network": {"nodes": 5, "cores": [4, 8, 16, 32], "arrival_probability": [0.2, 1.0]},
    "time": {"slots": 40, "time_scale": 4.0},
    "offline": {"episodes": 4, "steps": 600, "checkpoints": 2, "checkpoint_episodes": 2},
    "online": {"episodes": 8, "episodes_per_update": 4},
    "evaluation": {"episodes": 4, "methods": [*HEURISTICS, *LEARNED]},
}


def settings_with(**sections: dict[str, Any]) -> Settings:
    return resolve_settings([SETTINGS, sections])


def open_run(folder: Path, settings: Settings | None = None, name: str = "played", url: str | None = None):
    """A migrated database with an empty run, and the run."""
    settings = settings or settings_with()
    db = Database.connect(url or f"sqlite:///{folder}/testbed.db")
    db.migrate()
    network = draw_network(settings.network, settings.seed, settings.network.index)
    return db, create_run(db, name, settings, network, {"python": "3.11.9", "offload-testbed": "0.1.0"})


def play(
    db: Database,
    run: Run,
    phase: str,
    method: str,
    trace: int,
    *,
    skill: float = 0.5,
    model: str | None = None,
    noise: float = 0.004,
    mixed: str | None = None,
    late_slots: int = 0,
) -> EpisodeSummary:
    """Play one episode. skill: the probability that a learned method chooses the least delay, and not at random."""
    settings = run.settings
    network = draw_network(settings.network, settings.seed, settings.network.index)
    drawn = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, trace)
    scheduler = "drl" if model else method
    plan = EpisodePlan(phase, method, trace, SchedulerChoice(scheduler, model=model))
    uid = uuid.uuid4().hex
    number = open_episode(db, run, plan, drawn, 1, uid)
    records = _records(settings, network, drawn, (number, uid), _policy(method, skill), model, noise)
    assert write_records(db, run.number, records) == []
    return close_episode(db, run, number, mixed=mixed, late_slots=late_slots)


def play_everything(db: Database, run: Run, *, noise: float = 0.004) -> None:
    """Play all phases of the run's settings, with methods that improve."""
    settings = run.settings
    for k in range(settings.offline.episodes):
        play(db, run, "collect", settings.offline.heuristic, COLLECT_TRACES + k, noise=noise)
    parts = settings.offline.checkpoints + 1
    for part in range(1, parts + 1):
        step = settings.offline.steps * part // parts
        last = part == parts
        version = "offline" if last else f"offline-checkpoint-{step}"
        method = "offline-only" if last else "offline-checkpoint"
        publish(db, run, version, phase="offline", method=method, number=step)
        for k in range(0 if last else settings.offline.checkpoint_episodes):
            trace = CHECKPOINT_TRACES + k
            play(db, run, "checkpoint", method, trace, skill=0.6 * part / parts, model=version, noise=noise)
    count = settings.online.episodes_per_update
    updates = settings.online.episodes // count
    for method, start in (("o2o-drl", 0.6), ("online-only", 0.0)):
        for update in range(updates + 1):
            version = "offline" if (method, update) == ("o2o-drl", 0) else f"{method}-{update:04d}"
            if version != "offline":
                publish(db, run, version, phase="online", method=method, number=update)
            skill = min(0.95, start + 0.4 * update / updates)
            for k in range(count if update < updates else 0):
                play(
                    db,
                    run,
                    "online",
                    method,
                    ONLINE_TRACES + update * count + k,
                    skill=skill,
                    model=version,
                    noise=noise,
                )
    models = {
        "offline-only": "offline",
        "online-only": f"online-only-{updates:04d}",
        "o2o-drl": f"o2o-drl-{updates:04d}",
    }
    skills = {"offline-only": 0.6, "online-only": 0.4, "o2o-drl": 0.95}
    for k in range(settings.evaluation.episodes):
        for method in settings.evaluation.methods:
            play(
                db, run, "evaluate", method, EVALUATION_TRACES + k,
                skill=skills.get(method, 0.5), model=models.get(method), noise=noise, late_slots=k % 2,
            )  # fmt: skip


def publish(db: Database, run: Run, version: str, *, phase: str, method: str, number: int) -> None:
    """Record a version without files."""
    manifest = ModelManifest(
        version=version,
        algorithm="ppo",
        profile={},
        actions=run.settings.network.nodes + 1,
        observation_size=1,
        files={},
    )
    record_model(db, run, manifest, phase=phase, method=method, number=number, statistics={})


Policy = Callable[[np.random.Generator, int, np.ndarray], tuple[int, int]]
"""From random numbers, the own index and the estimated delays: destination, and number of probed nodes."""


def _policy(method: str, skill: float) -> Policy:
    def choose(random: np.random.Generator, own: int, delay_s: np.ndarray) -> tuple[int, int]:
        n = len(delay_s)
        if method == "local":
            return own, 0
        if method == "random":
            return int(random.integers(n)), 0
        if method == "ratc":
            two = random.choice(n, size=2, replace=False)
            return int(two[np.argmin(delay_s[two])]), int((two != own).sum())
        if method == "sed":
            three = np.unique(np.append(random.choice(n, size=2, replace=False), own))
            return int(three[np.argmin(delay_s[three])]), len(three) - 1
        return (int(np.argmin(delay_s)) if random.random() < skill else int(random.integers(n))), 0

    return choose


def _records(
    settings: Settings,
    network: Network,
    trace: Trace,
    episode: tuple[int, str],
    policy: Policy,
    model: str | None,
    noise: float,
) -> list[Record]:
    """Of the episode with this number and uid."""
    n, time = network.nodes, settings.time
    # One generator per episode number: the same database is filled the same way again.
    random = np.random.default_rng([settings.seed, episode[0]])
    free_s, link_free_s = np.zeros(n), np.zeros((n, n))
    executing: list[list[float]] = [[] for _ in range(n)]
    records: list[Record] = []
    for slot in range(time.slots + 1):
        now = slot * time.slot_s
        for node in range(n):
            task = trace.task(slot, node)
            action, probes, decision_s = n, 0, 0.0
            if task is not None:
                transmission = task.size_bits / np.where(np.arange(n) == node, np.inf, network.rate_bps[node])
                reached = np.maximum(now, link_free_s[node]) + transmission
                start = np.maximum(reached, free_s)
                delay_s = start + task.cycles / network.capacity_hz - now
                action, probes = policy(random, node, delay_s)
                decision_s = float(time.time_scale * random.lognormal(np.log(8e-3 if probes else 5e-4), 0.35))
                records.append(
                    _outcome(
                        settings,
                        network,
                        trace.episode,
                        task,
                        episode,
                        action,
                        decision_s,
                        link_free_s,
                        free_s,
                        executing,
                        random,
                        noise,
                    )
                )
            records.append(
                decision_record(
                    episode=episode[0],
                    episode_uid=episode[1],
                    slot=slot,
                    node=node,
                    observation=np.zeros(1, "<f4").tobytes(),
                    mask=pack_masks(np.array([task is not None] * n + [task is None])).tobytes(),
                    action=action,
                    model=model,
                    decision_s=decision_s,
                    probes=probes,
                    execution_queue_length=int(sum(end > now for end in executing[node])),
                    sending_queue_length=int((link_free_s[node] > now).sum()),
                    receiving_queue_length=int((link_free_s[:, node] > now).sum()),
                    execution_backlog_s=float(max(0.0, free_s[node] - now)),
                )
            )
    return records


def _outcome(
    settings: Settings, network: Network, trace: int, task: Any, episode: tuple[int, str], destination: int,
    decision_s: float, link_free_s: np.ndarray, free_s: np.ndarray, executing: list[list[float]],
    random: np.random.Generator, noise: float,
) -> OutcomeRecord:  # fmt: skip
    """Where a task ends; moves the clocks of the link and the executor that it used."""
    source, begin = task.source, task.slot * settings.time.slot_s
    due = begin + task.deadline_s
    place = settings.seed, trace, task.slot, source, destination
    waited = transmission_s = execution_waiting_s = execution_s = 0.0
    at, outcome = begin, None

    def failed(purpose: Purpose, rate: float, duration_s: float) -> bool:
        seed, *rest = place
        return bool(failure_instant_s(seed, purpose, *rest, rate) < duration_s)

    if destination != source:
        duration = task.size_bits / network.rate_bps[source, destination]
        start = max(at, link_free_s[source, destination])
        waited, at = start - at, start
        if start + duration > due:
            outcome = Outcome.DROPPED
        else:
            transmission_s = duration * (1 + abs(random.normal(0, noise)))
            at = link_free_s[source, destination] = start + duration
            if failed(Purpose.TRANSMISSION_FAILURE, network.link_failure_rate[source, destination], duration):
                outcome = Outcome.TRANSMISSION_FAILURE
    if outcome is None:
        duration = task.cycles / network.capacity_hz[destination]
        start = max(at, free_s[destination])
        execution_waiting_s, at = start - at, start
        if start + duration > due:
            outcome = Outcome.DROPPED
        else:
            execution_s = duration * (1 + abs(random.normal(0, noise)))
            at = free_s[destination] = start + duration
            executing[destination].append(at)
            broke = failed(Purpose.EXECUTION_FAILURE, network.failure_rate[destination], duration)
            outcome = Outcome.EXECUTION_FAILURE if broke else Outcome.SUCCESS
    return outcome_record(
        episode=episode[0],
        episode_uid=episode[1],
        slot=task.slot,
        source=source,
        destination=destination,
        outcome=outcome,
        skew_s=0.001,
        decision_s=decision_s,
        transmission_waiting_s=float(waited),
        transmission_s=float(transmission_s),
        handover_s=0.002 if destination != source else 0.0,
        execution_waiting_s=float(execution_waiting_s),
        execution_s=float(execution_s),
        completion_s=float(at - begin),
        end_slot=end_slot(task.slot, at - begin, settings.time.slot_s, settings.time.slots),
        transfer=settings.node.transfer if destination != source else None,
        written_by=source,
    )
