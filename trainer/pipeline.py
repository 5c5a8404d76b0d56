"""Runs the O2O pipeline: collect → offline → deploy → online → evaluate → report.

The pipeline is resumable. It reads from the database and the storage what is done. After a kill at any moment, a new
start plays no complete episode twice, trains no published version twice, and produces the same result. The reason is
that every random number is keyed by the seed and its place.

One thread runs the pipeline. The `EpisodeSource` plays the episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from middleware.database import Database, Run, read_episode_log
from middleware.retrying import retry_while_unavailable
from middleware.storage import Storage
from offload.candidates import Decisions
from offload.episodes import EpisodeLog, EpisodePlan
from offload.errors import UserError
from offload.protocols import EpisodeSource
from trainer.algorithms import create_offline, create_online, trained_scheduler
from trainer.events import write_events
from trainer.offline import load_candidates, load_replay, read_replay, rebuilder, train_offline
from trainer.online import fine_tune
from trainer.plans import (
    LEARNED,
    O2O_DRL,
    OFFLINE_ONLY,
    OFFLINE_VERSION,
    checkpoint_plans,
    collect_plans,
    evaluation_plans,
    online_methods,
)
from trainer.played import played
from trainer.progress import Progress, Silent
from trainer.publishing import ModelVersions
from trainer.replay import ReplayBuffer
from trainer.scorer.buffer import CandidateBuffer

PHASES = ("collect", "offline", "deploy", "online", "evaluate", "report")


class PipelineError(UserError):
    """A phase cannot run; the message says which phase to run first."""


@dataclass(frozen=True)
class Pipeline:
    """The phases of one run.

    source: plays episodes
    activate: asks the controller to make a version the active model of all nodes
    deploy: the same, and waits until all nodes have acknowledged it; `activate` by default
    parity: compares the run with the twin, for the report
    log_dir: the folder for TensorBoard events; None to write none
    out_dir: a folder for a copy of the report; None for no copy
    """

    db: Database
    storage: Storage
    run: Run
    source: EpisodeSource
    activate: Callable[[str], None]
    progress: Progress = field(default_factory=Silent)
    log_dir: Path | None = None
    out_dir: Path | None = None
    deploy: Callable[[str], None] | None = None
    parity: Callable[[], Mapping[str, Any] | None] | None = None

    def execute(self, phases: Sequence[str] = PHASES) -> dict[str, Any] | None:
        """Run the phases in the pipeline's order, and skip what is done. Returns the results if `report` is among them.

        Raises PipelineError for an unknown phase or a phase whose predecessor is missing, SettingsError when an
        algorithm cannot be made, EpisodeError when an episode could not be played, OffPolicyError when another policy
        played it.
        """
        unknown = [phase for phase in phases if phase not in PHASES]
        if unknown:
            raise PipelineError(f"unknown phase '{unknown[0]}'; phases: {', '.join(PHASES)}")
        self._check_algorithms(phases)
        torch.set_num_threads(1)  # the networks are small: more threads are slower, and take the edge nodes' cores
        steps = {
            "collect": self._collect,
            "offline": self._offline,
            "deploy": self._deploy,
            "online": self._online,
            "evaluate": self._evaluate,
        }
        results = None
        for phase in PHASES:
            if phase not in phases:
                continue
            if phase == "report":
                results = self._report()
            else:
                steps[phase]()
                self._write_events()
        return results

    def _check_algorithms(self, phases: Sequence[str]) -> None:
        """Raise SettingsError for algorithms that cannot be made, before any episode is played."""
        if "offline" in phases:
            create_offline(self.run.settings)
        if "online" in phases:
            create_online(self.run.settings)

    def _collect(self) -> None:
        self._play_missing("collect", collect_plans(self.run.settings))

    def _offline(self) -> None:
        plans = collect_plans(self.run.settings)
        done = played(self.db, self.run, plans)
        missing = [plan for plan in plans if plan not in done]
        if missing:
            raise PipelineError(
                f"offline training needs {len(plans)} complete episodes of {self.run.settings.offline.heuristic}; "
                f"{len(missing)} of them are missing; run the phase collect first"
            )
        if not self._versions.recorded(OFFLINE_ONLY):
            train_offline(self._versions, self._buffer([done[plan] for plan in plans]), self.progress)
        self._play_missing("checkpoint", checkpoint_plans(self.run.settings))

    def _buffer(self, episodes: Sequence[int]) -> ReplayBuffer | CandidateBuffer:
        """What the offline algorithm learns from: a data set, or these episodes."""
        if self.run.settings.offline.dataset is not None:
            return read_replay(self.run, self.progress)
        if trained_scheduler(self.run.settings) == "scorer":
            return load_candidates(self.db, self.run, episodes, self.progress)
        return load_replay(self.db, self.storage, self.run, episodes, self.progress)

    def _deploy(self) -> None:
        self._need_offline("deploy")
        if not self._versions.recorded(O2O_DRL):
            (self.deploy or self.activate)(OFFLINE_VERSION)

    def _online(self) -> None:
        for method in online_methods(self.run.settings):
            if method == O2O_DRL:
                self._need_offline("online")
            fine_tune(self._versions, method, self._episodes, self.progress)

    def _evaluate(self) -> None:
        models = {}
        for method in self.run.settings.evaluation.methods:
            if method in LEARNED:
                models[method] = self._final_model(method)
        self._play_missing("evaluate", evaluation_plans(self.run.settings, models))

    def _write_events(self) -> None:
        folder = self.log_dir
        if folder is not None:
            retry_while_unavailable(lambda: write_events(self.db, self.run, folder))

    def _report(self) -> dict[str, Any]:
        from evaluation.report import write_report  # takes a second to import, for its figures

        def write() -> dict[str, Any]:
            parity = self.parity() if self.parity is not None else None
            return write_report(self.db, self.storage, self.run, self.out_dir, parity)

        results: dict[str, Any] = retry_while_unavailable(write)
        return results

    @property
    def _versions(self) -> ModelVersions:
        return ModelVersions(self.db, self.storage, self.run, self.activate)

    def _need_offline(self, phase: str) -> None:
        if not self._versions.recorded(OFFLINE_ONLY):
            raise PipelineError(f"the phase {phase} needs the offline model; run the phase offline first")

    def _final_model(self, method: str) -> str:
        """The version of a learned method that is evaluated: the one after all updates."""
        settings = self.run.settings
        rows = self._versions.recorded(method)
        if method == OFFLINE_ONLY:
            if not rows:
                raise PipelineError("evaluating offline-only needs the offline model; run the phase offline first")
            return OFFLINE_VERSION
        updates = settings.online.episodes // settings.online.episodes_per_update
        if method == O2O_DRL and updates == 0:
            self._need_offline("evaluate")
            return OFFLINE_VERSION
        if not rows or rows[-1].number < updates:
            done = rows[-1].number if rows else 0
            raise PipelineError(
                f"evaluating {method} needs {updates} updates, but {done} are done; run the phase online first"
            )
        return rows[-1].version

    def _play_missing(self, name: str, plans: Sequence[EpisodePlan]) -> None:
        """Play the plans without a complete episode in the database."""
        done = played(self.db, self.run, plans)
        self.progress.begin(name, len(plans), "episodes")
        missing = [plan for plan in plans if plan not in done]
        self.progress.advance(len(plans) - len(missing))
        for log in self.source.play_all(missing):
            self.progress.advance(1, f"{log.plan.method}: success rate {_rate(log)}")
        self.progress.end()

    def _episodes(self, plans: Sequence[EpisodePlan]) -> list[EpisodeLog] | list[Decisions]:
        """What the online algorithm learns from: the episodes of the plans, in their order."""
        logs = self._logs(plans)
        if trained_scheduler(self.run.settings) == "scorer":
            rebuild = rebuilder(self.db, self.run)
            return [rebuild(log) for log in logs]
        return logs

    def _logs(self, plans: Sequence[EpisodePlan]) -> list[EpisodeLog]:
        """The logs of the plans in their order. Plays the plans that have not been played."""
        numbers, logs = played(self.db, self.run, plans), {}
        for plan in plans:
            number = numbers.get(plan)
            if number is not None:
                logs[plan] = retry_while_unavailable(partial(read_episode_log, self.db, self.run, number))
                self.progress.advance(1, f"{plan.scheduler.model}: played before")
        for log in self.source.play_all([plan for plan in plans if plan not in logs]):
            logs[log.plan] = log
            self.progress.advance(1, f"{log.plan.scheduler.model}: success rate {_rate(log)}")
        return [logs[plan] for plan in plans]


def _rate(log: EpisodeLog) -> str:
    return f"{log.success_rate:.3f}" if log.tasks else "–"
