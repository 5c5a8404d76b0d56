"""The online phase of one method: play with version v, train on exactly these episodes, publish v+1, and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offload.episodes import EpisodeLog, EpisodePlan
from trainer.algorithms import create_online
from trainer.algorithms.protocols import OnlineAlgorithm, TrainingState
from trainer.plans import O2O_DRL, OFFLINE_VERSION, ONLINE_ONLY, online_plans, online_version
from trainer.progress import Progress
from trainer.publishing import ModelShelf

Play = Callable[[Sequence[EpisodePlan]], list[EpisodeLog]]
"""Plays what has not been played, telling of each, and returns the logs of all of the plans, in their order."""


def fine_tune(shelf: ModelShelf, method: str, play: Play, progress: Progress) -> None:
    """All updates of `o2o-drl` or `online-only`; goes on after the last published one.

    Raises OffPolicyError when an episode was not played by the version that it was planned for.
    """
    settings = shelf.run.settings
    updates = settings.online.episodes // settings.online.episodes_per_update
    progress.begin(f"online {method}", settings.online.episodes, "episodes")
    algorithm = create_online(settings)
    learner = _start(algorithm, shelf, method)
    progress.advance(learner.step * settings.online.episodes_per_update)
    for update in range(learner.step + 1, updates + 1):
        logs = play(online_plans(settings, method, update))
        statistics = algorithm.update(learner, logs, updates)
        version = online_version(method, update)
        _publish(shelf, learner, method, version, online_version(method, update - 1), statistics)
        if method == O2O_DRL:
            # The comparison's fresh networks are never the system's own model: their episodes name them.
            shelf.activate(version)
    progress.end()


def _start(algorithm: OnlineAlgorithm[Any], shelf: ModelShelf, method: str) -> TrainingState:
    """The learner at its last published version; of `online-only`, version 0 is published here."""
    learner: TrainingState = algorithm.fresh()
    rows = shelf.recorded(method)
    if rows:
        learner.load_bytes(shelf.learner_bytes(rows[-1].version))
    elif method == O2O_DRL:
        algorithm.start_from(learner, shelf.learner_bytes(OFFLINE_VERSION))
    else:
        _publish(shelf, learner, ONLINE_ONLY, online_version(ONLINE_ONLY, 0), None, {})
    return learner


def _publish(
    shelf: ModelShelf,
    learner: TrainingState,
    method: str,
    version: str,
    parent: str | None,
    statistics: Mapping[str, float],
) -> None:
    algorithm = shelf.run.settings.online.algorithm
    shelf.publish(
        learner, version, algorithm=algorithm, phase="online", method=method, parent=parent, statistics=statistics
    )
