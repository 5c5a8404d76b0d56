"""Episode after episode for the environment views: which traces are played, on which network, and what an action means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgenode.schedulers import create_scheduler
from offload import draw_network, draw_trace, resolve_settings
from offload.draws import MAX_SEED
from offload.network import Network
from offload.presets import PRESETS
from offload.profiles import make_profile
from offload.protocols import SchedulerContext
from offload.settings import Settings
from simulator.observations import Observer
from simulator.twin import Twin


def settings_of(given: Settings | str) -> Settings:
    """Settings, or a preset's by its name. Raises ValueError for an unknown name."""
    if isinstance(given, Settings):
        return given
    if given not in PRESETS:
        raise ValueError(f"there is no preset {given!r}; there are {', '.join(PRESETS)}")
    return resolve_settings([PRESETS[given]])


@dataclass(frozen=True)
class Decided:
    """A slot that was decided. illegal (B, N): actions that were not in their mask; reward (B,): the team's in this slot."""

    illegal: NDArray[np.bool_]
    reward: NDArray[np.float64]
    is_over: bool


class EpisodeSequence:
    """B episodes at a time on one network: traces 0 … B−1 of a seed, then B … 2B−1, and so on."""

    def __init__(self, settings: Settings, network: Network | None, batch: int) -> None:
        if batch < 1:
            raise ValueError(f"{batch} episodes; at least 1 is played")
        self.settings, self.batch = settings, batch
        self.network = network or draw_network(settings.network, settings.seed, settings.network.index)
        if self.network.nodes != settings.network.nodes:
            raise ValueError(f"the network has {self.network.nodes} nodes, the settings say {settings.network.nodes}")
        self.nodes, self.slots = self.network.nodes, settings.time.slots
        self.profile = make_profile(settings)
        self._episode, self._here = np.arange(batch)[:, None], np.arange(self.nodes)
        self.start(first=0)
        self._next = 0  # the first reset begins with trace 0, too

    def seed(self, seed: int) -> None:
        """Begin with trace 0 of another seed. The network stays: an environment has one."""
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed {seed} is not in 0 … {MAX_SEED}")
        self.settings = self.settings.model_copy(update={"seed": seed})
        self._next = 0

    def start(self, first: int | None = None) -> None:
        """The next B traces, or those from `first` on."""
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
        """Observations and masks of this slot, in arrays of their own: whoever was given the last ones keeps them."""
        self.observations, legal = self._observer.observe()
        self.legal: NDArray[np.bool_] = legal
        self.masks: NDArray[np.int8] = legal.view(np.int8)

    def decide(self, actions: NDArray[np.int64]) -> Decided:
        """Actions (B, N) in 0 … N, N being "no task".

        One that its mask forbids is not refused, but counted as illegal: "no task" where there is one leaves it where it is, a
        node where there is none is ignored, and to an overloaded node the task is sent all the same.
        """
        twin, slot = self.twin, self.twin.slot
        illegal = ~self.legal[self._episode, self._here, actions]
        twin.decide(np.where(actions == self.nodes, self._here, actions))
        is_over = twin.slot == self.slots
        reward = twin.team_reward[:, slot].copy()
        self.observe()
        return Decided(illegal, reward, is_over)

    def scheduler_actions(self, name: str, parameters: Mapping[str, Any]) -> NDArray[np.int64]:
        """(B, N) the actions that a scheduler takes now. Raises ValueError for one that cannot be made."""
        context = SchedulerContext(self.nodes, self.profile, None, self.network.capacity_hz)
        actions = np.full((self.batch, self.nodes), self.nodes)
        episode, node, choice, _ = self.twin.choices(create_scheduler(name, parameters, context))
        actions[episode, node] = choice.destination
        return actions

    def checked(self, actions: Any) -> NDArray[np.int64]:
        """(B, N) actions as whole numbers in 0 … N. Raises ValueError naming the first that is none."""
        given = np.asarray(actions)
        if given.shape != (self.batch, self.nodes) or given.dtype.kind not in "iu":
            raise ValueError(
                f"actions are whole numbers of shape {(self.batch, self.nodes)}, got {given.dtype} of shape {given.shape}"
            )
        wrong = (given < 0) | (given > self.nodes)
        if wrong.any():
            b, node = (int(part) for part in np.argwhere(wrong)[0])
            raise ValueError(f"episode {b}, node_{node}: action {given[b, node]}; actions are 0 to {self.nodes}")
        return given.astype(np.int64)
