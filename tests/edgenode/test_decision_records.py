"""Tests that recorded decisions are those of the scheduler or model that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from small_controller import Fleet

from middleware.database import close_episode
from middleware.database.schema import decisions
from middleware.storage import open_storage, publish_model
from offload import draw_trace, make_profile, resolve_settings
from trainer.export import actor_to_onnx
from trainer.networks import mlp

SETTINGS = resolve_settings(
    [
        {
            "network": {"nodes": 3, "cores": [4, 4], "arrival_probability": [1.0, 1.0], "failure_rate": [0.0, 0.0]},
            "tasks": {"size_bits": ["300 KB", "600 KB"]},
            "time": {"slots": 12},
            "scheduler": {"name": "local"},
        }
    ]
)
# Keeps tasks where they are. Asks the model's actor only while tasks are queued, and marks that in the scores.
MOODY = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from offload import Choice

@dataclass(frozen=True, eq=False)
class Moody:
    context: object
    raises_in_slot: int = -1
    enough_reports: ClassVar[int | None] = None

    def probes(self, states, draws):
        return np.zeros((states.batch, 0), dtype=np.int64)

    def choose(self, states, reports, draws):
        if int(states.slot[0]) == self.raises_in_slot and int(states.node[0]) == 1:
            raise ZeroDivisionError("once in a while")
        scores = np.zeros((states.batch, states.nodes))
        if states.execution_queue_length[0] > 0:
            self.context.actor.logits(self.context.profile.encode(states))
            scores[:] = 1.0
        return Choice(states.node.astype(np.int64), scores, np.zeros(states.batch))
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package with a scheduler, installed as pip does, for processes that start from now on."""
    (tmp_path / "moody.py").write_text(MOODY)
    information = tmp_path / "moody-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: moody\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[offload.schedulers]\nmoody = moody:Moody\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def played(fleet: Fleet, parameters: dict[str, Any]) -> tuple[Any, list[Any]]:
    """An episode's summary and its decisions, with the scheduler and the model `m1`."""
    profile = make_profile(SETTINGS)
    fields = {
        "version": "m1", "algorithm": "ppo", "profile": profile.to_json(), "actions": profile.nodes + 1,
        "observation_size": profile.size, "reward_mean": 0.0, "reward_std": 1.0, "parent": None, "steps": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    actor = actor_to_onnx(mlp(profile.size, (8,), profile.nodes + 1))
    publish_model(open_storage(fleet.storage_url, None), "test", fields, {"actor.onnx": actor})
    fleet.change({"scheduler": {"name": "moody", "parameters": parameters, "model": "m1"}})
    time = SETTINGS.time
    episode = fleet.play(draw_trace(SETTINGS.tasks, fleet.network, time.slot_s, time.slots, SETTINGS.seed, 0))
    summary = close_episode(fleet.database, fleet.run, episode)
    with fleet.database.reading() as connection:
        return summary, list(connection.execute(sa.select(decisions).where(decisions.c.episode == episode)).all())


def test_substitute_decision_makes_the_episode_mixed(moody: None, tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        summary, rows = played(fleet, {"raises_in_slot": 3})
        assert (summary.verdict, summary.tasks) == ("mixed", 36), fleet.logs()
        assert "failed in 1 decisions, the first at node 1 in slot 3" in summary.reason
        assert [(row.slot, row.node, row.action, row.model) for row in rows if row.failed] == [(3, 1, 1, None)]


def test_a_decision_names_the_model_if_it_asked_the_models_actor(moody: None, tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        summary, rows = played(fleet, {})
        assert summary.verdict == "complete", fleet.logs()
        asked = {(row.slot, row.node): row.scores == b"\x00\x00\x80\x3f" * 3 for row in rows if row.action < 3}
        assert 0 < sum(asked.values()) < len(asked)
        assert all((row.model == "m1") == asked[row.slot, row.node] for row in rows if row.action < 3)
