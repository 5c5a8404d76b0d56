"""Provides the operations of a running controller: episodes, live settings, models, status, metrics, reports.

The REST interface uses only `Control`.

Concurrency: any request thread may call any method. `Control` has no state of its own. Its parts guard theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from controller import interface
from controller.episode_runtime import Episodes
from controller.lifecycle import Lifecycle
from controller.metrics import Metrics
from controller.node_states import node_states
from controller.player import Player
from controller.pods import NodePods
from controller.readiness import Fallback
from controller.run_services import RunServices
from middleware.configuration import LiveSettings, changed, nested
from middleware.database import LeaseHolder, Run, find_episodes, find_models, load_trace
from middleware.errors import ServiceError, ServiceRefused
from middleware.retrying import log_refusal
from offload.episodes import EpisodePlan
from offload.network import Network
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings
from offload.tasks import Trace

CheckChoice: TypeAlias = Callable[[Settings, SchedulerChoice], None]
"""Checks a scheduler choice. Raises SettingsError if no node of a run with these settings could apply it."""


class NotReady(RuntimeError):
    """No episode can be played yet, or any more. The message says why."""


class Control:
    """The controller's operations for clients. pods: the nodes' pods; None outside Kubernetes."""

    def __init__(
        self,
        services: RunServices,
        holder: LeaseHolder,
        episodes: Episodes,
        player: Player,
        fallback: Fallback,
        pods: NodePods | None,
        lifecycle: Lifecycle,
        metrics: Metrics,
        check_choice: CheckChoice,
    ) -> None:
        self._services = services
        self._holder = holder
        self._episodes = episodes
        self._player = player
        self._fallback = fallback
        self._pods = pods
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._check_choice = check_choice
        self.run: Run = services.run
        self.network: Network = services.network
        self.secured = services.access.token is not None
        """Whether requests need a token."""

    def require_ready(self) -> None:
        """Raise NotReady if no episode can be played now."""
        if not self._lifecycle.ready:
            raise NotReady(self._lifecycle.failure or "the nodes are still starting")

    # --- episodes -----------------------------------------------------------------------------------------------

    def request_episode(self, plan: EpisodePlan, recorded: Trace | None = None) -> int:
        """Open an episode, queue it for the player, and return its number.

        Raises what `Episodes.open` raises.
        """
        self._player.require_no_arrivals()
        self._check_choice(self.run.settings, plan.scheduler)
        return self._player.request(plan, recorded)

    def wait_for(self, episode: int, timeout_s: float) -> None:
        """Wait until the episode ends, for `timeout_s` real seconds at most."""
        state = self._episodes.state
        if state is not None and state.episode == episode:
            state.ended.wait(timeout_s)

    def episode(self, episode: int) -> interface.Episode | None:
        """The current state of an episode; None if there is no such episode."""
        found = find_episodes(self._services.database, self.run, episode=episode, status=None)
        if not found:
            return None
        one, state = found[0], self._episodes.state
        return interface.Episode(
            episode=episode,
            status=one.status,
            verdict=one.verdict,
            reason=one.reason,
            slot=state.slot if state is not None and state.episode == episode else None,
            slots=self.run.settings.time.slots,
            tasks=one.tasks,
            successes=one.successes,
            outcomes=dict(one.outcomes),
        )

    def trace(self, episode: int) -> Trace:
        """The tasks of an episode. Raises LookupError if there is no such episode."""
        return load_trace(self._services.database, self.run, episode)

    def abort(self, episode: int, reason: str) -> bool:
        """Abort an episode if it is being played; False if it is not."""
        return self._episodes.abort(reason, episode)

    def set_serving(self, serving: bool) -> None:
        """Begin or end continuous arrivals. An end lets the current episode finish."""
        self._player.set_serving(serving)

    # --- live settings and models -------------------------------------------------------------------------------

    def live_settings(self) -> interface.Configuration:
        """The live settings, and the revision that each node has applied; 0 for a node that is not registered."""
        record = self._read()
        found = {one.instance: one for one in self._services.registered_nodes() if one.alive()}
        revisions = {name: int(one.metadata.get("revision") or 0) for name, one in found.items()}
        return interface.Configuration(
            revision=record.revision if record else 0,
            live_settings=dict(record.values) if record else {},
            written_by=record.written_by if record else None,
            acknowledged={name: revisions.get(name, 0) for name in map(str, range(self.network.nodes))},
        )

    def change(self, changes: Mapping[str, Any], by: str) -> LiveSettings:
        """Change live settings. Raises SettingsError, and writes nothing, if no node could apply them.

        Raises LeaseLost if another process controls the run, NoLiveSettings if the run has none, and ServiceError.
        """
        self._holder.confirm()
        record = self._read()
        if record is not None:
            choice = SchedulerChoice.from_json(changed(record.values, changes)["scheduler"])
            self._check_choice(self.run.settings, choice)
        written = self._services.configuration.change(self.run.name, changes, by)
        if record is None or written.scheduler != record.scheduler or "scheduler" in nested(changes):
            self._fallback.forget(written.revision)
        return written

    def models(self) -> interface.Models:
        """All model versions, and the active one."""
        record = self._read()
        rows = find_models(self._services.database, self.run)
        return interface.Models(
            active=record.scheduler.model if record else None,
            models=[
                interface.Model(version=row.version, phase=row.phase, method=row.method, number=row.number)
                for row in rows
            ],
        )

    def activate(self, version: str) -> LiveSettings:
        """Make a version the active model. Raises LookupError if there is no such version, and as `change`."""
        versions = [row.version for row in find_models(self._services.database, self.run)]
        if version not in versions:
            raise LookupError(f"there is no model '{version}'; existing models: {', '.join(versions) or 'none yet'}")
        return self.change({"scheduler.model": version}, "activate")

    # --- state --------------------------------------------------------------------------------------------------

    def status(self) -> interface.Status:
        """The nodes, the current episode, the live settings, and the success rate of the last episodes."""
        record = self._read()
        nodes = node_states(self._services, self._pods)
        state = self._episodes.state
        playing = None
        if state is not None:
            method = state.plan.method
            playing = interface.Playing(episode=state.episode, method=method, slot=state.slot, slots=state.slots)
        return interface.Status(
            run=self.run.name,
            serving=self._player.serving,
            continuously=self._player.continuously,
            trouble=self._player.trouble,
            fallback=self._fallback.reason(record),
            nodes=nodes,
            episode=playing,
            live_settings=dict(record.values) if record else {},
            revision=record.revision if record else 0,
            last_episodes=self._last_episodes(),
        )

    def metrics(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        try:
            alive = [one for one in self._services.registered_nodes() if one.alive()]
            self._metrics.nodes_alive.set(len(alive))
            self._metrics.fallback.set(self._fallback.reason(self._read()) is not None)
        except ServiceError as error:  # the other metrics are still needed
            log_refusal(error, "metrics of nodes and live settings")
        return self._metrics.text()

    def report(self, name: str) -> bytes | None:
        """The report of a run as HTML; None if there is none. Raises ServiceUnavailable without the storage."""
        try:
            return self._services.storage.read(f"reports/{name}/report.html")
        except (FileNotFoundError, ValueError, ServiceRefused):
            return None  # no run has a name that the storage refuses

    def _read(self) -> LiveSettings | None:
        return self._services.configuration.read(self.run.name)

    def _last_episodes(self) -> interface.LastEpisodes:
        last = self._player.last
        tasks, successes = sum(one.tasks for one in last), sum(one.successes for one in last)
        return interface.LastEpisodes(
            episodes=len(last),
            tasks=tasks,
            success_rate=successes / tasks if tasks else None,
            schedulers=sorted({one.plan.method for one in last}),
        )
