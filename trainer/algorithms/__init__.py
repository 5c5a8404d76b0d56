"""Finds learning algorithms by name, and contains the built-in ones.

An algorithm is a frozen dataclass of the form that `protocols.py` describes. All algorithms, built-in or from other
packages, are found through the entry-point group `offload.algorithms`. `docs/algorithms.md` shows how to write one.

`sac_cql.py` trains offline (eq. 10–12, Algorithm 1), `ppo.py` fine-tunes online (eq. 13–19, Algorithm 2). Each has a
small pure function per equation of the paper. They use arrays, tensors and the settings' sections, but no database,
storage or source of episodes. Importing this package does not need torch; loading an algorithm does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offload.candidates import PROFILE, CandidateProfile
from offload.entry_points import entry_names, find_entry, load_entry
from offload.parameters import checked_parameters, defaults_of, fault_of_form
from offload.profiles import Profile, make_profile
from offload.settings import OfflineSettings, OnlineSettings, Settings, SettingsError
from trainer.algorithms.protocols import (
    AlgorithmContext,
    Curve,
    OfflineAlgorithm,
    OnlineAlgorithm,
    Phase,
    TrainedScheduler,
)
from trainer.scorer.rebuilding import fault_of_profile

GROUP = "offload.algorithms"
PAGE = "docs/algorithms.md"
PHASES: tuple[Phase, ...] = ("offline", "online")
SCHEDULERS: tuple[TrainedScheduler, ...] = ("drl", "scorer")
_SECTIONS: Mapping[str, type[OfflineSettings] | type[OnlineSettings]] = {
    "offline": OfflineSettings,
    "online": OnlineSettings,
}
_METHODS = {"offline": ("fresh", "train"), "online": ("fresh", "start_from", "update")}


@dataclass(frozen=True)
class Description:
    """An algorithm as `offload algorithms` shows it.

    phase: offline or online; empty if the algorithm cannot be loaded, and `summary` then says why
    scheduler: the scheduler that uses the actor
    """

    name: str
    phase: str
    scheduler: str
    summary: str
    parameters: Mapping[str, Any]
    curves: Mapping[str, Curve]


def algorithm_names() -> list[str]:
    """The names of the algorithms of all phases. Loads no algorithm."""
    return entry_names(GROUP)


def describe() -> list[Description]:
    """All algorithms with the first line of their docstring, the defaults of their parameters, and their curves."""
    found = []
    for name in algorithm_names():
        try:
            made = _load(name, "algorithm")
        except SettingsError as problem:  # a broken package must not hide the other algorithms
            found.append(Description(name, "", "", str(problem), {}, {}))
            continue
        summary = (made.__doc__ or "").strip().split("\n")[0]
        found.append(Description(name, made.phase, _trains(made), summary, defaults_of(made), made.curves))
    return found


def create_offline(settings: Settings) -> OfflineAlgorithm[Any, Any]:
    """The algorithm of `offline.algorithm` with `offline.parameters`.

    Raises SettingsError for

    * an unknown name (the message lists the known ones), or a name that two packages provide
    * an algorithm that cannot be loaded, or that trains online
    * an unknown parameter or an impossible value, or settings that the algorithm itself rejects
    """
    made: OfflineAlgorithm[Any, Any] = _create("offline", settings)
    return made


def create_online(settings: Settings) -> OnlineAlgorithm[Any, Any]:
    """The algorithm of `online.algorithm` with `online.parameters`. Raises SettingsError as `create_offline` does."""
    made: OnlineAlgorithm[Any, Any] = _create("online", settings)
    return made


def check_algorithms(settings: Settings) -> None:
    """Raise SettingsError when an algorithm of the settings cannot be made, with one line per problem.

    Without torch no algorithm can be loaded. The names are checked then, but the parameters are not. A phase's default
    algorithm without parameters is not loaded either, because loading takes seconds.
    """
    problems = []
    for phase in PHASES:
        section, defaults = getattr(settings, phase), _SECTIONS[phase]()
        default = (section.algorithm, section.parameters) == (defaults.algorithm, {})
        try:
            find_entry(GROUP, "algorithm", section.algorithm, f"{phase}.algorithm")
            if not default and importlib.util.find_spec("torch") is not None:
                _create(phase, settings)
        except SettingsError as wrong:
            problems.append(str(wrong))
    if not problems and importlib.util.find_spec("torch") is not None:
        problems += _of_schedulers(settings)
    if problems:
        raise SettingsError("\n".join(problems))


def trained_scheduler(settings: Settings, phase: Phase = "offline") -> TrainedScheduler:
    """The scheduler that uses the actors of a run. It is the same for both phases (`check_algorithms`)."""
    section = getattr(settings, phase)
    if section.algorithm == _SECTIONS[phase]().algorithm:
        return "drl"  # without loading it, which takes seconds
    return _trains(_load(section.algorithm, f"{phase}.algorithm"))


def trained_profile(settings: Settings) -> Profile | CandidateProfile:
    """The profile of the actors of a run."""
    return PROFILE if trained_scheduler(settings) == "scorer" else make_profile(settings)


def _trains(made: Any) -> TrainedScheduler:
    found: TrainedScheduler = getattr(made, "scheduler", "drl")
    return found


def _of_schedulers(settings: Settings) -> list[str]:
    """What is wrong with the schedulers that the two algorithms train actors for."""
    first, second = trained_scheduler(settings, "offline"), trained_scheduler(settings, "online")
    if first != second:
        names = settings.offline.algorithm, settings.online.algorithm
        fitting = [one.name for one in describe() if one.phase == "online" and one.scheduler == first]
        return [
            f"online.algorithm: '{names[1]}' trains actors for the scheduler {second}, but offline.algorithm "
            f"'{names[0]}' for {first}; write {' or '.join(fitting) or 'an algorithm for the same one'}"
        ]
    if first == "scorer":
        problems = fault_of_profile(make_profile(settings))
        if settings.offline.dataset is not None:
            problems.append(
                f"offline.dataset: '{settings.offline.algorithm}' needs to know when tasks reached their executors, "
                "which data sets do not have; leave it out, and let the run collect logs"
            )
        return problems
    return []


def context_of(settings: Settings) -> AlgorithmContext:
    """The context of algorithms in an experiment with these settings."""
    profile = trained_profile(settings)
    return AlgorithmContext(
        observation_size=profile.size,
        actions=profile.outputs,
        seed=settings.seed,
        learner=settings.learner,
        offline=settings.offline,
        online=settings.online,
    )


def _create(phase: Phase, settings: Settings) -> Any:
    section = getattr(settings, phase)
    name, key = section.algorithm, f"{phase}.algorithm"
    made = _load(name, key)
    if made.phase != phase:
        raise SettingsError(f"{key}: '{name}' trains {made.phase}; it can be {made.phase}.algorithm")
    # An algorithm without own parameters, such as the built-in ones, uses the section's keys.
    own = defaults_of(made)
    instead = {} if own else {field: f"{phase}.{field}" for field in _SECTIONS[phase].model_fields}
    parameters = checked_parameters(made, section.parameters, f"{phase}.parameters", name, instead)
    try:
        return made(context_of(settings), **parameters)
    except SettingsError:
        raise
    except ValueError as refused:
        text = str(refused)
        raise SettingsError(text if text.startswith(f"{phase}.") else f"{phase}.parameters: {text}") from None
    except Exception as error:  # an algorithm of another package may raise anything
        raise SettingsError(f"{key}: '{name}' cannot be made: {type(error).__name__}: {error}") from error


def _load(name: str, key: str) -> Any:
    entry = find_entry(GROUP, "algorithm", name, key)
    made = load_entry(entry, key)
    fault = fault_of_form(made) or fault_of_class(made)
    if fault:
        raise SettingsError(f"{key}: '{name}' ({entry.value}) {fault}; see {PAGE}")
    return made


def fault_of_class(made: Any) -> str | None:
    """What a class needs to be an algorithm of its phase but does not have; None if it has everything."""
    phase = getattr(made, "phase", None)
    if phase not in PHASES:
        return f"has the phase {phase!r}; it is 'offline' or 'online'"
    if _trains(made) not in SCHEDULERS:
        return f"trains actors for the scheduler {_trains(made)!r}; it is 'drl' or 'scorer'"
    for method in (*_METHODS[phase], "curves", *(("on_policy",) if phase == "online" else ())):
        if not hasattr(made, method):
            return f"has no '{method}'"
    return None
