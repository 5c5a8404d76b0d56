"""Minari data sets: a run's logs for other people's offline algorithms, and other people's logs for our offline phase.

An episode's step is a time slot with the rows of all N nodes: observation `{"observation": (N, O), "action_mask": (N, N+1)}`,
action (N,), reward the team's, truncated at its end (with the observation-only tick as last observation). The infos
`up` (N,) say which nodes were there, `log_probability` (N,) is NaN for schedulers without a policy. The profile, which an
observation means nothing without, is in the data set's metadata.

Minari keeps its data sets in `~/.minari/datasets`, or where MINARI_DATASETS_PATH says.
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

_PROFILE = "offload_profile"
_CHUNK = 50
"""Episodes in memory at a time."""


class DatasetError(UserError, ValueError):
    """A data set that cannot be written, read, or used here; the message says why."""


def export_dataset(logs: Iterable[EpisodeLog], dataset_id: str, profile: Profile, description: str) -> int:
    """Write logs as the data set `dataset_id` (`name-v0`, `space/name-v0`); returns how many episodes.

    Raises DatasetError when there is such a data set already, the id is none, or there are no logs.
    """
    import minari
    from gymnasium import spaces

    nodes, actions = profile.nodes, profile.nodes + 1
    streamed = iter(logs)
    first = [_buffer(log) for log in itertools.islice(streamed, _CHUNK)]
    if not first:
        raise DatasetError("there is no complete episode to export")
    try:
        # Minari warns of everything that it could be told: an author, an environment, a permalink.
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

    Raises DatasetError when there is no such data set, or it is of another profile or number of nodes.
    """
    for number, episode in enumerate(_fitting(dataset_id, profile).iterate_episodes()):
        yield _log(number, episode, profile.nodes)


def check_dataset(dataset_id: str, profile: Profile) -> None:
    """Raises DatasetError where `read_dataset` would. No episode is read."""
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
            f"data set {dataset_id!r} does not say which observation profile it has; it is not one of ours"
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
        plan=EpisodePlan(EpisodePhase.COLLECT, "dataset", number, "dataset"),
        observations=np.asarray(episode.observations["observation"], np.float32),
        masks=masks,
        actions=actions,
        log_probabilities=np.asarray(infos.get("log_probability", np.full(actions.shape, np.nan)), np.float32),
        up=np.asarray(infos.get("up", np.ones(actions.shape)), bool),
        team_reward=np.asarray(episode.rewards, np.float64),
        tasks=int((actions < nodes).sum()),
        successes=int(((actions < nodes).sum() + np.sum(episode.rewards)) / 2),
    )
