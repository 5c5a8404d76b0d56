"""Runs a fleet of real edge-node processes for a benchmark, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from commands.local import LocalController, OpenRun, open_run
from evaluation.results import build_results
from middleware.storage import publish_model
from offload.episodes import EpisodePhase, EpisodePlan
from offload.manifest import ACTOR_FILE, ModelManifest
from offload.presets import PRESETS
from offload.profiles import make_profile
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, resolve_settings
from trainer.export import actor_to_onnx
from trainer.networks import mlp
from trainer.source import TestbedSource

MODEL = "untrained"
_TRACES = 3_000_000


@dataclass(frozen=True)
class Fleet:
    """A running fleet. Learned schedulers use an untrained actor of the preset's size."""

    opened: OpenRun
    controller: LocalController

    def play(self, scheduler: str, episodes: int) -> None:
        """Play `episodes` episodes with a scheduler. All schedulers play the same traces."""
        opened = self.opened
        source = TestbedSource(self.controller.address(), opened.database, opened.run, opened.settings)
        model = MODEL if scheduler.startswith("drl") else None
        for trace in range(_TRACES, _TRACES + episodes):
            source.play(EpisodePlan(EpisodePhase.EVALUATE, scheduler, trace, SchedulerChoice(scheduler, model=model)))

    def results(self) -> dict[str, Any]:
        """The results of the episodes so far, in the form of `results.json`."""
        return build_results(self.opened.database, self.opened.run)

    def largest_node_mb(self) -> float:
        """Resident memory (MB) of the largest edge-node process."""
        return max(
            process.memory_info().rss / 1e6
            for process in psutil.Process(self.controller.pid).children(recursive=True)
            if "commands.node" in process.cmdline()
        )


def settings_of(preset: str, methods: list[str], *layers: Mapping[str, Any]) -> Settings:
    """A preset's settings for a benchmark that plays these schedulers, with further layers of settings."""
    return resolve_settings([PRESETS[preset], {"evaluation": {"methods": methods}}, *layers])


@contextmanager
def local_fleet(settings: Settings) -> Iterator[Fleet]:
    """Start the controller and the nodes, and stop them afterwards."""
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
        folder = Path(name)
        services = {"services": {"database": f"sqlite:///{folder}/offload.db", "storage": f"file:{folder}/storage"}}
        opened = open_run(resolve_settings([settings.model_dump(mode="json"), services]), "benchmark")
        publish_untrained(opened, MODEL)
        with LocalController(opened, folder / "pods") as controller:
            controller.address()
            yield Fleet(opened, controller)
        opened.database.close()


def publish_untrained(opened: OpenRun, version: str, seed: int = 0) -> ModelManifest:
    """Publish an untrained actor of the preset's size as a version."""
    profile = make_profile(opened.settings)
    torch.manual_seed(seed)
    actor = mlp(profile.size, opened.settings.learner.hidden, profile.nodes + 1)
    fields = {
        "version": version,
        "algorithm": "none",
        "profile": profile.to_json(),
        "actions": profile.nodes + 1,
        "observation_size": profile.size,
        "reward_mean": 0.0,
        "reward_std": 1.0,
        "parent": None,
        "steps": 0,
    }
    return publish_model(opened.storage, opened.run.name, fields, {ACTOR_FILE: actor_to_onnx(actor)})
