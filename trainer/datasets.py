"""Writes a run's logs as a Minari data set, and reads such data sets for the offline phase.

A step of an episode is a time slot with the rows of all N nodes:

* observation: `{"observation": (N, O), "action_mask": (N, N+1)}`; action: (N,); reward: the team reward
* the last step is truncated; its next observation is that of the observation-only tick
* info `up`: (N,) whether each node was up; info `log_probability`: (N,) NaN for schedulers without a policy

The data set's metadata contains the observation profile.
Minari stores its data sets in `~/.minari/datasets`, or in MINARI_DATASETS_PATH if that is set.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from offload.episodes import EpisodeLog, EpisodePhase, EpisodePlan
from offload.errors import UserError
from offload.profiles import Profile
from offload.scheduler_choice import SchedulerChoice

_PROFILE = "offload_profile"
_CHUNK = 50
"""Episodes in memory at a time."""


class DatasetError(UserError, ValueError):
    """A data set cannot be written, read, or used in this experiment; the message says why."""


def export_dataset(logs: Iterable[EpisodeLog], dataset_id: str, profile: Profile, description: str) -> int:
    """Write logs as the data set `dataset_id` (`name-v0`, `space/name-v0`). Returns the number of episodes.

    Raises DatasetError when the data set exists already, the id is not valid, or there are no logs.
    """
    import minari
    from gymnasium import spaces

    nodes, actions = profile.nodes, profile.nodes + 1
    streamed = iter(logs)
    first = [_buffer(log) for log in itertools.islice(streamed, _CHUNK)]
    if not first:
        raise DatasetError("there is no complete episode to export")
    try:
        # Minari warns about every optional field that is missing: an author, an environment, a permalink.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            dataset = minari.create_dataset_from_buffers(
                dataset_id,
                first,
                observation_space=spaces.Dict(
                    {
                        "observation": spaces.Box(0.0, 1.0, (nodes, profile.size), np.float32),
                        "action_mask": spaces.Box(0, 1, (nodes, actions), np.int8),
                    }
                ),
                action_space=spaces.MultiDiscrete([actions] * nodes),
                algorithm_name=description,
                description=description,
            )
    except ValueError as refused:
        raise DatasetError(f"data set {dataset_id!r}: {refused}") from None
    dataset.storage.update_metadata({_PROFILE: json.dumps(profile.to_json(), sort_keys=True)})
    count = len(first)
    while chunk := [_buffer(log) for log in itertools.islice(streamed, _CHUNK)]:
        dataset.update_dataset_from_buffer(chunk)
        count += len(chunk)
    return count


def read_dataset(dataset_id: str, profile: Profile) -> Iterator[EpisodeLog]:
    """The episodes of a data set, one in memory at a time.

    Raises DatasetError when the data set does not exist, or has another profile or number of nodes.
    """
    for number, episode in enumerate(_fitting(dataset_id, profile).iterate_episodes()):
        yield _log(number, episode, profile.nodes)


def check_dataset(dataset_id: str, profile: Profile) -> None:
    """Raise DatasetError when `read_dataset` would. Reads no episode."""
    _fitting(dataset_id, profile)


def _fitting(dataset_id: str, profile: Profile) -> Any:
    import minari

    try:
        dataset = minari.load_dataset(dataset_id)
    except (FileNotFoundError, ValueError) as missing:
        raise DatasetError(f"there is no data set {dataset_id!r} here: {missing}") from None
    found = dataset.storage.metadata.get(_PROFILE)
    if found is None:
        raise DatasetError(
            f"data set {dataset_id!r} has no observation profile in its metadata; use a data set that "
            "`offload dataset export` wrote"
        )
    if differences := profile.differences(json.loads(found)):
        raise DatasetError(f"data set {dataset_id!r} does not fit: " + "; ".join(differences))
    return dataset


def _buffer(log: EpisodeLog) -> Any:
    from minari.data_collector import EpisodeBuffer

    slots = len(log.team_reward)
    return EpisodeBuffer(
        observations={"observation": log.observations, "action_mask": log.masks.astype(np.int8)},
        actions=log.actions[:slots],
        rewards=log.team_reward,
        terminations=np.zeros(slots, bool),
        truncations=np.arange(slots) == slots - 1,
        infos={"up": log.up, "log_probability": log.log_probabilities},
    )


def _log(number: int, episode: Any, nodes: int) -> EpisodeLog:
    masks = np.asarray(episode.observations["action_mask"], bool)
    actions = np.concatenate([np.asarray(episode.actions, np.int64), np.full((1, nodes), nodes)])
    infos = episode.infos or {}
    return EpisodeLog(
        episode=number,
        plan=EpisodePlan(EpisodePhase.COLLECT, "dataset", number, SchedulerChoice("dataset")),
        observations=np.asarray(episode.observations["observation"], np.float32),
        masks=masks,
        actions=actions,
        log_probabilities=np.asarray(infos.get("log_probability", np.full(actions.shape, np.nan)), np.float32),
        up=np.asarray(infos.get("up", np.ones(actions.shape)), bool),
        team_reward=np.asarray(episode.rewards, np.float64),
        tasks=int((actions < nodes).sum()),
        successes=int(((actions < nodes).sum() + np.sum(episode.rewards)) / 2),
    )
