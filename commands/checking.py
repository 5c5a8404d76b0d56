"""Checks settings against this installation before a run begins: the names and parameters in them.

`offload.settings` checks units, types and ranges when settings are read. This module checks what needs the installed
schedulers, algorithms and applications. It opens no connection and does not need torch: if torch is not installed,
the parameters of algorithms are checked later, where they train.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offload.candidates import PROFILE
from offload.explanations import unknown_name
from offload.profiles import PROFILES, make_profile
from offload.protocols import SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, SettingsError


def check_settings(settings: Settings) -> None:
    """Raise SettingsError with a line for everything in `settings` that this installation cannot do."""
    problems = [
        *_of_choice(settings, settings.scheduler.choice),
        *_of_names(settings),
        *_of_methods(settings),
        *_of_algorithms(settings),
    ]
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))


def check_choice(settings: Settings, choice: SchedulerChoice) -> None:
    """Check a scheduler choice and the fallback scheduler for a run with these settings. Raises SettingsError."""
    problems = [*_of_choice(settings, choice), *_of_fallback(settings)]
    if problems:
        raise SettingsError("\n".join(problems))


def _of_names(settings: Settings) -> Iterator[str]:
    from edgenode.applications import create_application

    yield from _of_fallback(settings)
    yield from needs_no_model(settings, "offline.heuristic", settings.offline.heuristic)
    if settings.node.profile not in PROFILES:
        yield f"node.profile: {unknown_name('profile', settings.node.profile, PROFILES)}"
    try:
        create_application(settings.node.application)
    except SettingsError as wrong:
        yield str(wrong)


def _of_fallback(settings: Settings) -> Iterator[str]:
    yield from needs_no_model(settings, "fallback_scheduler", settings.fallback_scheduler)


def _of_methods(settings: Settings) -> Iterator[str]:
    from trainer.plans import LEARNED

    methods = settings.evaluation.methods
    for method in methods:
        if method not in LEARNED:
            yield from needs_no_model(settings, "evaluation.methods", method, LEARNED)
    for method in sorted({one for one in methods if methods.count(one) > 1}):
        yield f"evaluation.methods: '{method}' is listed twice; write it once"


def _of_algorithms(settings: Settings) -> Iterator[str]:
    from trainer.algorithms import check_algorithms

    try:
        check_algorithms(_with_known_profile(settings))
    except SettingsError as wrong:
        yield str(wrong)


def needs_no_model(settings: Settings, key: str, name: str, others: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a scheduler for a key that has no model. others: further names that this key allows."""
    from edgenode.schedulers import scheduler_names

    names = scheduler_names()
    if name not in names:
        yield f"{key}: {unknown_name('scheduler', name, [*names, *others])}"
        return
    choice = settings.without_model(name)
    problem = _trial(settings, choice, with_model=False)
    if problem is None:
        return
    if _trial(settings, choice, with_model=True) is None:
        instead = f"{', '.join(others)} for what this run trains" if others else "a scheduler that needs none"
        yield f"{key}: '{name}' needs a model, and there is none for this key; write {instead}"
    elif problem.startswith("scheduler.parameters"):
        yield problem
    else:
        yield f"{key}: {problem.removeprefix('scheduler.name: ')}"


def _of_choice(settings: Settings, choice: SchedulerChoice) -> Iterator[str]:
    problem = _trial(settings, choice, with_model=bool(choice.model))
    if problem is None:
        return
    if not choice.model and _trial(settings, choice, with_model=True) is None:
        yield f"scheduler.model: '{choice.name}' needs a model; write VERSION for a model of this run, or RUN/VERSION"
    else:
        yield problem


def _trial(settings: Settings, choice: SchedulerChoice, with_model: bool) -> str | None:
    """Create a scheduler as a node would, with a placeholder as model. Returns why this fails; None if it succeeds."""
    from edgenode.schedulers import create_scheduler

    n, own = settings.network.nodes, make_profile(_with_known_profile(settings))
    problems = []
    # A model's profile is known only when the model is read. Until then, either kind may be right.
    for profile in (own, PROFILE) if with_model else (own,):
        actor = _AnyActor(profile.outputs) if with_model else None
        try:
            create_scheduler(choice.name, choice.parameters, SchedulerContext(n, profile, actor))
        except ValueError as wrong:
            problems.append(str(wrong))
        except Exception as error:  # schedulers of other packages may raise anything
            problems.append(f"scheduler.name: '{choice.name}' cannot be created: {type(error).__name__}: {error}")
        else:
            return None
    return problems[0]


def _with_known_profile(settings: Settings) -> Settings:
    """The settings with a profile that exists: an unknown profile is reported separately."""
    if settings.node.profile in PROFILES:
        return settings
    return settings.model_copy(update={"node": settings.node.model_copy(update={"profile": PROFILES[0]})})


class _AnyActor:
    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Equal values for all outputs."""
        return np.zeros((len(observations), self._outputs), dtype=np.float32)
