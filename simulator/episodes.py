"""Plays the environments' episodes one after the other: chooses traces and network, and interprets actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgenode.schedulers import create_scheduler
from offload import draw_network, draw_trace, resolve_settings
from offload.draws import MAX_SEED
from offload.explanations import unknown_name
from offload.network import Network
from offload.presets import PRESETS
from offload.profiles import make_profile
from offload.protocols import SchedulerContext
from offload.settings import Settings
from simulator.observations import Observer
from simulator.twin import Twin


def settings_of(given: Settings | str) -> Settings:
    """The settings themselves, or those of a preset with this name. Raises ValueError for an unknown name."""
    if isinstance(given, Settings):
        return given
    if given not in PRESETS:
        raise ValueError(unknown_name("preset", given, tuple(PRESETS)))
    return resolve_settings([PRESETS[given]])


@dataclass(frozen=True)
class Decided:
    """The result of a decided slot.

    illegal: (B, N) actions that their mask forbids; reward: (B,) the team reward of the slot
    is_over: whether it was the last slot
    """

    illegal: NDArray[np.bool_]
    reward: NDArray[np.float64]
    is_over: bool


class EpisodeSequence:
    """B episodes at a time on one network: traces 0 … B−1 of a seed, then B … 2B−1, and so on.

    Raises ValueError for fewer than one episode, or a network whose size differs from the settings'.
    """

    def __init__(self, settings: Settings, network: Network | None, batch: int) -> None:
        if batch < 1:
            raise ValueError(f"episodes must be at least 1, got {batch}")
        self.settings, self.batch = settings, batch
        self.network = network or draw_network(settings.network, settings.seed, settings.network.index)
        if self.network.nodes != settings.network.nodes:
            raise ValueError(f"the network has {self.network.nodes} nodes, the settings say {settings.network.nodes}")
        self.nodes, self.slots = self.network.nodes, settings.time.slots
        self.profile = make_profile(settings)
        self._episode, self._here = np.arange(batch)[:, None], np.arange(self.nodes)
        self.start(first=0)
        self._next = 0  # the first reset also begins with trace 0

    def seed(self, seed: int) -> None:
        """Continue with trace 0 of another seed. The network does not change: an environment has one network."""
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed {seed} is not in 0 … {MAX_SEED}")
        self.settings = self.settings.model_copy(update={"seed": seed})
        self._next = 0

    def start(self, first: int | None = None) -> None:
        """Start episodes on the next B traces, or on the B traces from `first` on."""
        times, settings = self.settings.time, self.settings
        first = self._next if first is None else first
        traces = [
            draw_trace(settings.tasks, self.network, times.slot_s, times.slots, settings.seed, first + b)
            for b in range(self.batch)
        ]
        self._next = first + self.batch
        self.twin = Twin([self.network], traces, settings)
        self._observer = Observer(self.twin, self.profile)
        self.observe()

    def observe(self) -> None:
        """Compute observations and masks of this slot in new arrays; callers may keep the arrays of earlier slots."""
        self.observations, legal = self._observer.observe()
        self.legal: NDArray[np.bool_] = legal
        self.masks: NDArray[np.int8] = legal.view(np.int8)

    def decide(self, actions: NDArray[np.int64]) -> Decided:
        """Decide a slot. actions: (B, N) in 0 … N; N means "no task".

        An action that its mask forbids raises no error. It is reported as illegal and has this effect:

        * "no task" although there is a task: the task stays at its node
        * a node although there is no task: nothing
        * an overloaded node: the task is sent there
        """
        twin, slot = self.twin, self.twin.slot
        illegal = ~self.legal[self._episode, self._here, actions]
        twin.decide(np.where(actions == self.nodes, self._here, actions))
        is_over = twin.slot == self.slots
        reward = twin.team_reward[:, slot].copy()
        self.observe()
        return Decided(illegal, reward, is_over)

    def scheduler_actions(self, name: str, parameters: Mapping[str, Any]) -> NDArray[np.int64]:
        """(B, N) the actions that a scheduler takes now. Raises ValueError for an unknown scheduler or parameter."""
        context = SchedulerContext(self.network.nodes, self.profile)
        actions = np.full((self.batch, self.nodes), self.nodes)
        made = self.twin.decisions(create_scheduler(name, parameters, context))
        actions[made.episode, made.node] = made.choice.destination
        return actions

    def checked(self, actions: Any) -> NDArray[np.int64]:
        """(B, N) the actions as int64. Raises ValueError, naming the first action that is not an integer in 0 … N."""
        given = np.asarray(actions)
        if given.shape != (self.batch, self.nodes) or given.dtype.kind not in "iu":
            shape = (self.batch, self.nodes)
            raise ValueError(f"actions must be integers of shape {shape}, got {given.dtype} of shape {given.shape}")
        wrong = (given < 0) | (given > self.nodes)
        if wrong.any():
            b, node = (int(part) for part in np.argwhere(wrong)[0])
            raise ValueError(f"episode {b}, node_{node}: action {given[b, node]} is not in 0 … {self.nodes}")
        return given.astype(np.int64)
