"""Runs the offline phase: fills a buffer from the collected logs, trains on it, publishes the checkpoints.

For actors of the scheduler `drl` the buffer has transitions, for those of `scorer` decisions among candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from middleware.database import Database, Run, load_network, read_episode_log, stream_episode_logs
from middleware.retrying import retry_while_unavailable
from middleware.storage import Storage
from offload.candidates import Decisions
from offload.episodes import EpisodeLog
from offload.profiles import make_profile
from offload.settings import Settings
from trainer.algorithms import create_offline
from trainer.algorithms.protocols import OfflineAlgorithm, TrainingState
from trainer.datasets import DatasetError, read_dataset
from trainer.learner import check_finite
from trainer.plans import CHECKPOINT, OFFLINE_ONLY, OFFLINE_VERSION, checkpoint_steps, checkpoint_version
from trainer.progress import Progress
from trainer.publishing import ModelVersions
from trainer.replay import ReplayBuffer
from trainer.scorer.buffer import CandidateBuffer
from trainer.scorer.rebuilding import rebuilt
from trainer.seeds import Stream, generator
from trainer.transitions import transitions_of

_REPORTS = 50
"""The approximate number of points of the loss curve."""


def read_replay(run: Run, progress: Progress) -> ReplayBuffer:
    """The replay buffer of the data set `offline.dataset`. Raises DatasetError when it cannot be used."""
    settings, profile = run.settings, make_profile(run.settings)
    assert settings.offline.dataset is not None
    try:
        transitions = [transitions_of(log) for log in read_dataset(settings.offline.dataset, profile)]
    except ValueError as wrong:
        raise DatasetError(f"offline.dataset: {wrong}") from None
    buffer = ReplayBuffer(
        min(settings.offline.buffer_slots, sum(len(one.rewards) + 1 for one in transitions)),
        profile.nodes,
        profile.size,
    )
    progress.begin("replay", len(transitions), "episodes")
    for one in transitions:
        buffer.append(one)
        progress.advance()
    progress.end()
    return buffer


def load_replay(db: Database, storage: Storage, run: Run, episodes: Sequence[int], progress: Progress) -> ReplayBuffer:
    """The replay buffer of these episodes, from the storage if it is saved there.

    Otherwise the episodes are streamed from the database, and the buffer is saved.
    """
    settings = run.settings
    profile = make_profile(settings)
    capacity = min(settings.offline.buffer_slots, len(episodes) * (settings.time.slots + 1))
    folder = f"buffers/{run.name}/offline"

    def build() -> ReplayBuffer:
        buffer = ReplayBuffer(capacity, profile.nodes, profile.size)
        progress.begin("replay", len(episodes), "episodes")
        if buffer.load(storage, folder, episodes):
            progress.advance(len(episodes), "from the storage")
        else:
            for log in stream_episode_logs(db, run, episodes):
                buffer.append(transitions_of(log))
                progress.advance()
            buffer.save(storage, folder, episodes)
        progress.end()
        return buffer

    return retry_while_unavailable(build)


def load_candidates(db: Database, run: Run, episodes: Sequence[int], progress: Progress) -> CandidateBuffer:
    """The decisions of these episodes with the values of their candidates, for an actor of the scheduler `scorer`."""
    settings = run.settings
    rebuild = rebuilder(db, run)
    buffer = CandidateBuffer(settings.offline.buffer_slots, settings.network.nodes)
    progress.begin("candidates", len(episodes), "episodes")
    for number in episodes:
        log = retry_while_unavailable(partial(read_episode_log, db, run, number))
        buffer.append(rebuild(log), settings.time.slots)
        progress.advance()
    progress.end()
    return buffer


def rebuilder(db: Database, run: Run) -> Callable[[EpisodeLog], Decisions]:
    """A function that rebuilds the decisions of an episode of the run from its log."""
    settings = run.settings
    network = retry_while_unavailable(lambda: load_network(db, run))
    profile = make_profile(settings)
    return lambda log: rebuilt(log, network, profile, settings.time.slot_s, settings.seed)


def train_offline(versions: ModelVersions, buffer: ReplayBuffer | CandidateBuffer, progress: Progress) -> None:
    """Train and publish the versions that are not published yet. Continues at the last checkpoint, bit for bit."""
    settings = versions.run.settings
    algorithm = create_offline(settings)
    learner = algorithm.fresh(buffer.reward_statistics())
    parent = None
    published = {row.version for method in (CHECKPOINT, OFFLINE_ONLY) for row in versions.recorded(method)}
    progress.begin("offline", settings.offline.steps, "steps")
    for stop in checkpoint_steps(settings):
        last = stop == settings.offline.steps
        version = OFFLINE_VERSION if last else checkpoint_version(stop)
        if version in published:
            done = learner.step
            learner.load_bytes(versions.learner_bytes(version))
            progress.advance(learner.step - done, f"{version} is published already")
        else:
            curve = _train_until(algorithm, learner, buffer, settings, stop, progress)
            versions.publish(
                learner,
                version,
                algorithm=settings.offline.algorithm,
                phase="offline",
                method=OFFLINE_ONLY if last else CHECKPOINT,
                parent=parent,
                statistics={"curve": curve, "transitions": len(buffer)},
            )
        parent = version
    progress.end()


def _train_until(
    algorithm: OfflineAlgorithm[Any, Any],
    learner: TrainingState,
    buffer: ReplayBuffer | CandidateBuffer,
    settings: Settings,
    stop: int,
    progress: Progress,
) -> list[dict[str, float]]:
    interval = max(1, settings.offline.steps // _REPORTS)
    curve: list[dict[str, float]] = []
    pending: list[Mapping[str, Tensor | float]] = []
    noted = [(key, curve.label) for key, curve in algorithm.curves.items() if curve.in_progress]
    while learner.step < stop:
        draws = generator(settings.seed, Stream.REPLAY, learner.step)
        batch = buffer.sample(draws, settings.offline.batch_slots)
        pending.append(algorithm.train(learner, batch))
        if learner.step % interval == 0 or learner.step == stop:
            means = {key: sum(float(each[key]) for each in pending) / len(pending) for key in pending[0]}
            check_finite(means, f"gradient step {learner.step}", f"learning rate of {settings.offline.algorithm}")
            curve.append({"step": float(learner.step), **means})
            progress.advance(len(pending), ", ".join(f"{label} {means[key]:.3f}" for key, label in noted))
            pending = []
    return curve
