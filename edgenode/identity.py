"""What identifies a node: its place in a run's network, and the settings of that run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgenode.facts import EpisodeFacts
from middleware.http.access import OPEN, Access
from middleware.http.addressee import addressee
from offload.network import Network
from offload.profiles import Profile
from offload.settings import Settings


@dataclass(frozen=True)
class NodeIdentity:
    """What identifies this node, and how it finds the others when their address changes.

    resolve: looks up a node's address in the registry; None if it finds none
    stimulus_log: the folder of the stimulus logs (`stimuli.py`); None to write none
    """

    run: str
    run_uid: str
    node: int
    network: Network
    settings: Settings
    profile: Profile
    resolve: Callable[[int], str | None]
    access: Access = OPEN
    stimulus_log: Path | None = None

    def addressee(self, node: int) -> str:
        """The addressee of a request to a node of this run (`middleware/http/addressee.py`)."""
        return addressee(self.run_uid, node)

    def facts(self, episode: int, episode_uid: str, trace: int) -> EpisodeFacts:
        """The facts of an episode that this node's core needs."""
        settings = self.settings
        return EpisodeFacts(
            episode=episode,
            episode_uid=episode_uid,
            trace=trace,
            node=self.node,
            network=self.network,
            seed=settings.seed,
            slot_s=settings.time.slot_s,
            slots=settings.time.slots,
            failure_timing=settings.time.failure_timing,
            overload_threshold_s=settings.overload_threshold_s,
            transfer=settings.node.transfer,
        )
