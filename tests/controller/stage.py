"""A controller's parts on a real database, in this process. It starts no edge nodes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import event

from controller.control import Control
from controller.episode_runtime import Episodes
from controller.lifecycle import Lifecycle
from controller.metrics import Metrics
from controller.player import Player
from controller.readiness import Fallback
from middleware.configuration import Configuration, open_configuration
from middleware.database import Database, LeaseHolder, create_run, find_episodes
from middleware.http.access import OPEN
from offload.episodes import EpisodePlan
from offload.network import draw_network
from offload.scheduler_choice import SchedulerChoice
from offload.settings import resolve_settings

PLAN = EpisodePlan("serve", "local", 3, SchedulerChoice("local"))


class Stage:
    """Player, episodes and control of the run `stop` with two nodes.

    addresses: the ready nodes; there are none by default
    configuration: replaces the one in the database
    settings: changes of the settings
    """

    def __init__(
        self,
        folder: Path,
        addresses: Mapping[int, str] | None = None,
        configuration: Configuration | None = None,
        settings: Mapping[str, Any] | None = None,
        leaving_s: float = 0.0,
    ) -> None:
        resolved = resolve_settings(
            [{"network": {"nodes": 2, "arrival_probability": [0.9, 1.0]}, "time": {"slots": 5}}, settings or {}]
        )
        self.database = Database.connect(f"sqlite:///{folder}/run.db")
        self.database.migrate()
        self.network = draw_network(resolved.network, resolved.seed)
        self.run = create_run(self.database, "stop", resolved, self.network, {})
        self.lifecycle = Lifecycle(leaving_s)
        self.asked = threading.Event()
        self._nodes = dict(addresses or {})
        self.holder = LeaseHolder(self.database, self.run, "test", self.lifecycle.stopping, self.lifecycle.lose)
        self.holder.acquire()
        self.configuration = configuration or open_configuration("file:", self.database)
        if configuration is None:
            self.configuration.create("stop", resolved.live(), "test")
        self.metrics = Metrics()
        self.episodes = Episodes(
            self.database,
            self.run,
            self.holder,
            self.network,
            self.configuration,
            self._addresses,
            "http://127.0.0.1:9",
            self.metrics,
            OPEN,
            self.lifecycle.stopping,
        )
        services: Any = SimpleNamespace(
            database=self.database,
            run=self.run,
            network=self.network,
            configuration=self.configuration,
            access=OPEN,
            registered_nodes=list,
        )
        self.fallback = Fallback(services, self.holder, self.lifecycle.stopping)
        self.player = Player(services, self.holder, self.episodes, self.fallback, self.lifecycle, continuously=False)
        self.control = Control(
            services,
            self.holder,
            self.episodes,
            self.player,
            self.fallback,
            None,
            self.lifecycle,
            self.metrics,
            lambda settings, choice: None,
        )

    def refuse_writes(self) -> None:
        """Let the database answer each write like a server in read-only mode: unavailable now."""
        event.listen(self.database.engine, "connect", lambda one, _: one.execute("PRAGMA query_only = ON"))
        self.database.engine.dispose()

    def _addresses(self) -> dict[int, str]:
        self.asked.set()
        return dict(self._nodes)

    def found(self) -> list[tuple[str, str | None]]:
        """Status and reason of each episode."""
        return [(str(one.status), one.reason) for one in find_episodes(self.database, self.run, status=None)]
