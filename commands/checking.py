"""Whether settings can be used, asked before anything is played or written: every name, parameter, model, device and URL in them.

Units, types and ranges are checked when settings are read (`offload.settings`). Here is what needs more than that: the installed
schedulers, algorithms and applications. Nothing is connected to, and torch is not needed: without it, the parameters of
algorithms are checked where they train.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offload.explanations import unknown_name
from offload.profiles import PROFILES, make_profile
from offload.protocols import SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, SettingsError


def check_settings(settings: Settings) -> None:
    """Raises SettingsError with a line for everything in `settings` that this installation cannot do."""
    problems = [
        *_of_choice(settings, settings.scheduler.choice),
        *_of_names(settings),
        *_of_methods(settings),
        *_of_algorithms(settings),
    ]
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))


def check_choice(settings: Settings, choice: SchedulerChoice) -> None:
    """The same of a scheduler and the fallback scheduler alone, for a run with these settings. Raises SettingsError."""
    problems = [*_of_choice(settings, choice), *_of_fallback(settings)]
    if problems:
        raise SettingsError("\n".join(problems))


def _of_names(settings: Settings) -> Iterator[str]:
    from edgenode.applications import create_application

    yield from _of_fallback(settings)
    yield from _needs_no_model(settings, "offline.heuristic", settings.offline.heuristic)
    if settings.node.profile not in PROFILES:
        yield f"node.profile: {unknown_name('profile', settings.node.profile, PROFILES)}"
    try:
        create_application(settings.node.application)
    except SettingsError as wrong:
        yield str(wrong)


def _of_fallback(settings: Settings) -> Iterator[str]:
    yield from _needs_no_model(settings, "fallback_scheduler", settings.fallback_scheduler)


def _of_methods(settings: Settings) -> Iterator[str]:
    from trainer.plans import LEARNED

    methods = settings.evaluation.methods
    for method in methods:
        if method not in LEARNED:
            yield from _needs_no_model(settings, "evaluation.methods", method, LEARNED)
    for method in sorted({one for one in methods if methods.count(one) > 1}):
        yield f"evaluation.methods: '{method}' stands there twice; write it once"


def _of_algorithms(settings: Settings) -> Iterator[str]:
    from trainer.algorithms import check_algorithms

    try:
        check_algorithms(_with_known_profile(settings))
    except SettingsError as wrong:
        yield str(wrong)


def _needs_no_model(settings: Settings, key: str, name: str, others: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a scheduler that gets no model here. others: further names that may stand at this key."""
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
        yield f"{key}: '{name}' needs a model, and gets none here; write {instead}"
    elif problem.startswith("scheduler.parameters"):
        yield problem
    else:
        yield f"{key}: {problem.removeprefix('scheduler.name: ')}"


def _of_choice(settings: Settings, choice: SchedulerChoice) -> Iterator[str]:
    problem = _trial(settings, choice, with_model=bool(choice.model))
    if problem is None:
        return
    if not choice.model and _trial(settings, choice, with_model=True) is None:
        yield f"scheduler.model: '{choice.name}' needs a model; write VERSION of one of this run's, or RUN/VERSION"
    else:
        yield problem


def _trial(settings: Settings, choice: SchedulerChoice, with_model: bool) -> str | None:
    """Make a scheduler as a node would, with a stand-in for the model. Returns why that cannot be done, None where it can."""
    from edgenode.schedulers import create_scheduler

    settings = _with_known_profile(settings)
    n = settings.network.nodes
    context = SchedulerContext(n, make_profile(settings), _AnyActor(n) if with_model else None, np.ones(n))
    try:
        create_scheduler(choice.name, choice.parameters, context)
    except ValueError as wrong:
        return str(wrong)
    except Exception as error:  # other people's schedulers may raise anything
        return f"scheduler.name: '{choice.name}' cannot be made: {type(error).__name__}: {error}"
    return None


def _with_known_profile(settings: Settings) -> Settings:
    """The settings with a profile that exists: an unknown one has a line of its own."""
    if settings.node.profile in PROFILES:
        return settings
    return settings.model_copy(update={"node": settings.node.model_copy(update={"profile": PROFILES[0]})})


class _AnyActor:
    def __init__(self, nodes: int) -> None:
        self._nodes = nodes

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """No preference."""
        return np.zeros((len(observations), self._nodes + 1), dtype=np.float32)
