"""Runs the online phase of one method: play with version v, train on exactly these episodes, publish v+1, and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offload.candidates import Decisions
from offload.episodes import EpisodeLog, EpisodePlan
from trainer.algorithms import create_online
from trainer.algorithms.protocols import OnlineAlgorithm, TrainingState
from trainer.plans import O2O_DRL, OFFLINE_VERSION, ONLINE_ONLY, online_plans, online_version
from trainer.progress import Progress
from trainer.publishing import ModelVersions

Play = Callable[[Sequence[EpisodePlan]], list[EpisodeLog] | list[Decisions]]
"""Plays the plans that have not been played, and reports the progress.

Returns what the algorithm learns from, for all plans in their order: logs, or decisions among candidates.
"""


def fine_tune(versions: ModelVersions, method: str, play: Play, progress: Progress) -> None:
    """Do all updates of `o2o-drl` or `online-only`, starting after the last published one.

    Raises OffPolicyError when an episode was not played by the version of its plan.
    """
    settings = versions.run.settings
    updates = settings.online.episodes // settings.online.episodes_per_update
    progress.begin(f"online {method}", settings.online.episodes, "episodes")
    algorithm = create_online(settings)
    learner = _start(algorithm, versions, method)
    progress.advance(learner.step * settings.online.episodes_per_update)
    for update in range(learner.step + 1, updates + 1):
        episodes = play(online_plans(settings, method, update))
        statistics = algorithm.update(learner, episodes, updates)
        version = online_version(method, update)
        _publish(versions, learner, method, version, online_version(method, update - 1), statistics)
        if method == O2O_DRL:
            # `online-only` is for the comparison. Its episodes name its versions, so none of them is activated.
            versions.activate(version)
    progress.end()


def _start(algorithm: OnlineAlgorithm[Any, Any], versions: ModelVersions, method: str) -> TrainingState:
    """The learner at its last published version. For `online-only` without a version, publishes version 0."""
    learner: TrainingState = algorithm.fresh()
    rows = versions.recorded(method)
    if rows:
        learner.load_bytes(versions.learner_bytes(rows[-1].version))
    elif method == O2O_DRL:
        algorithm.start_from(learner, versions.learner_bytes(OFFLINE_VERSION))
    else:
        _publish(versions, learner, ONLINE_ONLY, online_version(ONLINE_ONLY, 0), None, {})
    return learner


def _publish(
    versions: ModelVersions,
    learner: TrainingState,
    method: str,
    version: str,
    parent: str | None,
    statistics: Mapping[str, float],
) -> None:
    algorithm = versions.run.settings.online.algorithm
    versions.publish(
        learner, version, algorithm=algorithm, phase="online", method=method, parent=parent, statistics=statistics
    )
