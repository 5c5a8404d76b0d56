"""Tests that the twin and the edge nodes' cores agree on every state, report and outcome, in virtual time."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from node_cores import NodeCores

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.presets import PRESETS
from simulator.arrays import UNDECIDED
from simulator.twin import OUTCOMES, Twin


def _settings(preset, **layers):
    return resolve_settings([PRESETS[preset], layers])


CASES = {
    "the paper's simulation": _settings("paper-simulation", network={"nodes": 6}, time={"slots": 40}),
    "failures at their event": _settings(
        "paper-simulation", network={"nodes": 6, "failure_rate": [0.1, 1.0], "link_failure_rate": [0.1, 1.0]},
        time={"slots": 40, "failure_timing": "event"},
    ),
    "links slower than deadlines": _settings(
        "paper-testbed", network={"nodes": 4, "rate_bps": ["1 MB/s", "6 MB/s"], "link_failure_rate": [0, 0.5]}
    ),
    "deadlines that are not a multiple of a slot": _settings(
        "paper-testbed", network={"nodes": 8}, tasks={"deadline_s": 0.73}
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheduler", ["random", "rda-tuned", "sed", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_states_and_outcomes_are_those_of_the_nodes(case: str, scheduler: str) -> None:
    settings = CASES[case]
    network = draw_network(settings.network, settings.seed)
    trace = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, 5)
    made = create_scheduler(scheduler, {}, SchedulerContext(network.nodes, make_profile(settings)))
    twin = Twin([network], [trace], settings)
    everyone = np.arange(network.nodes)

    def decide(slot, snapshots):
        states = twin.states(np.zeros_like(everyone), everyone)
        for i, snapshot in enumerate(snapshots):
            for field in fields(states):
                theirs = getattr(snapshot.states, field.name)[0]
                np.testing.assert_allclose(
                    np.asarray(getattr(states, field.name)[i], float), np.asarray(theirs, float), rtol=0, atol=1e-9,
                    err_msg=f"{field.name} of node {i} at tick {slot}",
                )  # fmt: skip
        destinations = np.full(network.nodes, -1)
        if slot < trace.slots:
            decided = twin.decisions(made)
            destinations[decided.node] = decided.choice.destination
            twin.decide(destinations[None])
        return destinations

    ended = NodeCores(network, trace, settings).play(decide)
    outcomes = twin.task_outcomes()
    assert len(ended) == trace.has_task.sum() == (outcomes.outcome != UNDECIDED).sum()
    reward = np.zeros(trace.slots)
    for (slot, source), end in ended.items():
        place = 0, slot, source
        assert outcomes.destination[place] == end.task.destination
        assert OUTCOMES[outcomes.outcome[place]] is end.outcome
        for name in ("transmission_waiting_s", "transmission_s", "execution_waiting_s", "execution_s"):
            assert getattr(outcomes, name)[place] == pytest.approx(getattr(end.task, name), abs=1e-9), name
        assert outcomes.end_s[place] == pytest.approx(slot * trace.slot_s + end.completion_s, abs=1e-9)
        reward[end.end_slot] += 1 if end.outcome == "success" else -1
    np.testing.assert_array_equal(twin.team_reward[0], reward)
    given = Twin([network], [trace], settings).play_given(outcomes.destination)
    for field in fields(outcomes):
        np.testing.assert_array_equal(getattr(given, field.name), getattr(outcomes, field.name), err_msg=field.name)
