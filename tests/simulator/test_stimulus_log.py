"""Tests that the log of a node's events reproduces the same effects, so that a wrong outcome can be replayed."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from node_cores import NodeCores

from edgenode.core import NodeCore
from edgenode.effects import Effect
from edgenode.facts import EpisodeFacts, Snapshot
from edgenode.stimuli import LoggedCore, close_log, core_for, main, replay
from offload.network import draw_network
from offload.presets import PRESETS
from offload.settings import resolve_settings
from offload.tasks import draw_trace


class _Remembering(LoggedCore):
    """Stores copies of all effects that were taken: later events change a task's record."""

    def __init__(self, facts: EpisodeFacts, folder: Path) -> None:
        super().__init__(facts, folder, 1)
        self.all: list[tuple[str, dict]] = []

    def take_effects(self) -> list[Effect]:
        effects = super().take_effects()
        self.all += [_frozen(effect) for effect in effects]
        return effects


def _frozen(effect: Effect) -> tuple[str, dict]:
    return type(effect).__name__, asdict(effect)


def _played(folder: Path) -> list[_Remembering]:
    """Four nodes with failing links and executors play an episode. Tasks go from node to node in a circle."""
    layers = {
        "network": {"nodes": 4, "failure_rate": [0.2, 0.6], "arrival_probability": [0.8, 1.0]},
        "time": {"slots": 12},
    }
    settings = resolve_settings([PRESETS["paper-testbed"], layers])
    network = draw_network(settings.network, settings.seed)
    trace = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, 3)
    player = NodeCores(network, trace, settings)
    player.cores = [_Remembering(core.facts, folder) for core in player.cores]

    def decide(slot: int, snapshots: list[Snapshot]) -> np.ndarray:
        return (np.arange(len(snapshots)) + slot) % len(snapshots)

    assert player.play(decide)
    return player.cores


def test_the_replay_of_every_node_gives_the_effects_of_the_episode(tmp_path):
    cores = _played(tmp_path)
    kinds = set()
    for core in cores:
        (path,) = tmp_path.glob(f"episode-{core.facts.episode:06d}-*-node-{core.facts.node}-1.jsonl")
        again = [_frozen(effect) for _, effects in replay(path) for effect in effects]
        assert again == core.all
        kinds |= {name for name, _ in again}
    assert {"Announce", "HandOver", "Execute", "Ended"} <= kinds


def test_one_changed_event_changes_the_replay(tmp_path):
    core = _played(tmp_path)[0]
    path = next(tmp_path.glob("*-node-0-*.jsonl"))
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if json.loads(line).get("event") == "decided")
    lines[at] = json.dumps({**json.loads(lines[at]), "destination": 3})
    path.write_text("\n".join(lines) + "\n")
    assert [_frozen(effect) for _, effects in replay(path) for effect in effects] != core.all


def test_a_task_s_events_are_printed_alone(tmp_path, capsys):
    _played(tmp_path)
    path = next(tmp_path.glob("*-node-0-*.jsonl"))
    assert main([str(path), "2/0"]) == 0
    printed = capsys.readouterr().out
    assert "decided {'key': (2, 0)" in printed and "(3, 0)" not in printed
    assert "tick {'slot': 2, 'arrived': Task(slot=2, source=0" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["4"], "4: write SLOT/SOURCE, for example 4/3"),
        (["a/b"], "a/b: write SLOT/SOURCE"),
        (["99/3"], "has no event of task 99/3"),
    ],
)
def test_a_wrong_task_is_named(tmp_path, capsys, arguments, message):
    _played(tmp_path)
    path = next(tmp_path.glob("*-node-0-*.jsonl"))
    assert main([str(path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert main(["--help"]) == 2
    assert "FILE [SLOT/SOURCE]" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"event": "take_effects"}', '{"event": "tick", "slot": 1}'])
def test_a_damaged_log_is_named_with_its_line(tmp_path, capsys, line):
    _played(tmp_path)
    path = next(tmp_path.glob("*-node-0-*.jsonl"))
    lines = path.read_text().splitlines()
    lines[4] = line
    path.write_text("\n".join(lines) + "\n")
    assert main([str(path)]) == 2
    assert f"{path}, line 5 is not of a stimulus log" in capsys.readouterr().err


def test_an_episode_is_played_without_its_log_where_none_can_be_written(tmp_path, caplog):
    facts = _played(tmp_path / "logs")[0].facts
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        core = core_for(facts, tmp_path / "file" / "below", 1)
    assert type(core) is NodeCore and "has no stimulus log" in caplog.text
    assert np.array_equal(core.facts.network.rate_bps, facts.network.rate_bps)


def test_a_restarted_node_and_another_run_leave_the_log_of_a_crash_as_it_is(tmp_path):
    """A node that was restarted within its episode truncated the log of the process that had crashed."""
    facts = _played(tmp_path / "played")[0].facts
    crashed = core_for(facts, tmp_path / "logs", 1)
    crashed.tick(0, None, 0.0)
    (log,) = (tmp_path / "logs").iterdir()
    before = log.read_text()
    restarted = core_for(facts, tmp_path / "logs", 2)
    another_run = core_for(replace(facts, episode_uid="f" * 32), tmp_path / "logs", 1)
    assert log.read_text() == before
    assert len(list((tmp_path / "logs").iterdir())) == 3
    for core in (crashed, restarted, another_run):
        close_log(core)
        core.tick(1, None, 0.0)
    assert log.read_text() == before, "nothing is written after the end of the episode"
