"""Plans the episodes of each phase: scheduler, model and trace. The functions are pure: settings in, plans out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from offload.episodes import (
    CHECKPOINT_TRACES,
    COLLECT_TRACES,
    EVALUATION_TRACES,
    ONLINE_TRACES,
    EpisodePhase,
    EpisodePlan,
)
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings
from trainer.algorithms import create_online, trained_scheduler

OFFLINE_ONLY, ONLINE_ONLY, O2O_DRL = "offline-only", "online-only", "o2o-drl"
LEARNED = (OFFLINE_ONLY, ONLINE_ONLY, O2O_DRL)
CHECKPOINT = "offline-checkpoint"
OFFLINE_VERSION = "offline"


def checkpoint_version(step: int) -> str:
    """The version name of the actor after `step` gradient steps."""
    return f"{CHECKPOINT}-{step}"


def online_version(method: str, update: int) -> str:
    """The version name after `update` updates.

    `o2o-drl` starts from the offline model, `online-only` from fresh networks.
    """
    if method == O2O_DRL and update == 0:
        return OFFLINE_VERSION
    return f"{method}-{update:04d}"


def checkpoint_steps(settings: Settings) -> list[int]:
    """The gradient steps after which a version is published: evenly spaced checkpoints, and the last step."""
    steps, parts = settings.offline.steps, settings.offline.checkpoints + 1
    marks = [0, *(round(steps * part / parts) for part in range(1, parts)), steps]
    return [later for earlier, later in pairwise(marks) if later > earlier]


def online_methods(settings: Settings) -> list[str]:
    """The methods that are fine-tuned online: `o2o-drl` and `online-only`, if `evaluation.methods` has them."""
    return [method for method in (O2O_DRL, ONLINE_ONLY) if method in settings.evaluation.methods]


def collect_plans(settings: Settings) -> list[EpisodePlan]:
    """The heuristic's episodes; none when `offline.dataset` is set."""
    if settings.offline.dataset is not None:
        return []
    name = settings.offline.heuristic
    choice = settings.without_model(name)
    return [
        EpisodePlan(EpisodePhase.COLLECT, name, COLLECT_TRACES + k, choice) for k in range(settings.offline.episodes)
    ]


def checkpoint_plans(settings: Settings) -> list[EpisodePlan]:
    """The episodes of the offline checkpoints; each checkpoint plays the same traces."""
    scheduler = trained_scheduler(settings)
    return [
        EpisodePlan(
            EpisodePhase.CHECKPOINT,
            CHECKPOINT,
            CHECKPOINT_TRACES + k,
            SchedulerChoice(scheduler, model=checkpoint_version(step)),
        )
        for step in checkpoint_steps(settings)[:-1]
        for k in range(settings.offline.checkpoint_episodes)
    ]


def online_plans(settings: Settings, method: str, update: int) -> list[EpisodePlan]:
    """The episodes of update 1, 2, …, played by the version before it. Both methods play the same traces."""
    count = settings.online.episodes_per_update
    playing = getattr(create_online(settings), "playing", {})
    choice = SchedulerChoice(trained_scheduler(settings), playing, online_version(method, update - 1))
    first = ONLINE_TRACES + (update - 1) * count
    return [EpisodePlan(EpisodePhase.ONLINE, method, first + k, choice) for k in range(count)]


def evaluation_plans(settings: Settings, models: Mapping[str, str]) -> list[EpisodePlan]:
    """The evaluation episodes: all methods play a trace before the next one. models: the version per learned method."""
    choices = {
        method: SchedulerChoice(trained_scheduler(settings), model=models[method])
        if method in LEARNED
        else settings.without_model(method)
        for method in settings.evaluation.methods
    }
    return [
        EpisodePlan(EpisodePhase.EVALUATE, method, trace, choices[method])
        for trace in range(EVALUATION_TRACES, EVALUATION_TRACES + settings.evaluation.episodes)
        for method in settings.evaluation.methods
    ]
