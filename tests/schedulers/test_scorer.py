"""Tests the scheduler `scorer`: its choices with a small actor, the shipped model, and the models that it refuses."""

from __future__ import annotations

import dataclasses
from importlib.resources import files

import numpy as np
import pytest
from small_states import DRAWS, answers, many, silent, state

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.scoring import Scorer, shipped_actor
from offload import SchedulerContext
from offload.candidates import COLUMNS, PROFILE
from offload.conformance import example_context
from offload.manifest import ACTOR_FILE, MANIFEST_FILE, ModelManifest


class Linear:
    """An actor that adds up columns with weights: value and promise."""

    def __init__(self, value, promise):
        self.weights = np.zeros((PROFILE.size, PROFILE.outputs), np.float32)
        for output, weights in enumerate((value, promise)):
            for name, weight in weights.items():
                self.weights[COLUMNS.index(name), output] = weight

    def logits(self, observations):
        return observations @ self.weights


def scorer(value, promise, nodes=4, **parameters):
    return Scorer(SchedulerContext(nodes, PROFILE, Linear(value, promise)), **parameters)


def test_it_takes_the_candidate_with_the_highest_value():
    made = scorer({"finish": -1.0}, {})
    fast, slow = {"node": 2}, {"node": 3, "execution_backlog_s": 0.3}
    choice = made.choose(state(), answers(fast, slow), DRAWS)
    assert choice.destination.tolist() == [2]
    assert np.isnan(choice.scores[0, 1])
    np.testing.assert_allclose(choice.scores[0, [0, 2, 3]], [-1.0, -0.6, -0.8], rtol=1e-6)
    assert made.choose(state(capacity_hz=9e9), answers(fast, slow), DRAWS).destination.tolist() == [0]
    assert made.choose(state(), silent(2, 3), DRAWS).destination.tolist() == [0]


def test_it_probes_in_proportion_to_the_exponential_of_the_promise():
    made = scorer({}, {"capacity": 1.0}, temperature=0.5, d=2)
    states, draws = many(state(node=0, peer_capacity_hz=[1e9, 1e9, 2e9, 4e9]), 24_000)
    probes = made.probes(states, draws)
    assert (probes[:, 0] != probes[:, 1]).all() and not (probes == 0).any()
    weights = np.exp(np.array([0.5, 1.0, 2.0]) / 0.5)  # capacities relative to their mean of 2e9
    np.testing.assert_allclose(np.bincount(probes[:, 0])[1:] / 24_000, weights / weights.sum(), atol=0.01)


def test_a_low_temperature_still_finds_a_node_to_probe():
    made = scorer({}, {"capacity": 1.0}, temperature=1e-6)
    assert made.probes(state(peer_capacity_hz=[9e9, 1e9, 2e9, 3e9]), DRAWS).tolist() == [[3, 2, 1]]


def test_exploration_chooses_uniformly_among_the_candidates():
    states, draws = many(state(), 20_000)
    made = scorer({"finish": -1.0}, {}, exploration=0.3)
    rows = answers({"node": 2}, {"node": 3, "execution_backlog_s": 0.3}).take(np.zeros(20_000, int))
    shares = np.bincount(made.choose(states, rows, draws).destination, minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.1, 0.0, 0.8, 0.1], atol=0.01)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"d": 0}, "d: 0"), ({"temperature": 0.0}, "temperature"), ({"exploration": 1.5}, "exploration")],
)
def test_impossible_parameters_are_refused(parameters, named):
    with pytest.raises(ValueError, match=f"scheduler.parameters.{named}"):
        create_scheduler("scorer", parameters, SchedulerContext(3))


def test_the_shipped_model_is_small_complete_and_of_this_profile():
    folder = files("edgenode.schedulers") / "models" / "scorer"
    manifest = ModelManifest.from_bytes((folder / MANIFEST_FILE).read_bytes(), MANIFEST_FILE)
    manifest.check_fit(PROFILE)
    manifest.check_files({name: (folder / name).read_bytes() for name in manifest.files})
    assert sum(entry.size for entry in manifest.files.values()) < 100_000
    assert ACTOR_FILE in manifest.files
    assert shipped_actor().logits(np.zeros((7, len(COLUMNS)), np.float32)).shape == (7, 2)


@pytest.mark.parametrize("nodes", [10, 12, 8, 1, 200])
def test_one_actor_serves_networks_of_every_size(nodes):
    context = SchedulerContext(nodes, PROFILE, shipped_actor())
    made = create_scheduler("scorer", {}, context)
    states = dataclasses.replace(state(nodes=nodes))
    assert made.probes(states, DRAWS).shape == (1, min(3, nodes - 1))


def test_a_model_of_another_profile_is_left_to_other_schedulers():
    """A run with a model for `drl` can change to `scorer` and back."""
    with_other, without = (create_scheduler("scorer", {}, one) for one in (example_context(4), SchedulerContext(4)))
    rows = answers({"node": 2}, {"node": 3, "execution_backlog_s": 0.3})
    scores = [made.choose(state(), rows, DRAWS).scores for made in (with_other, without)]
    np.testing.assert_array_equal(*scores)
    with pytest.raises(ValueError, match="profile is candidates; such a model is for the scheduler scorer"):
        create_scheduler("drl", {}, SchedulerContext(3, PROFILE, shipped_actor()))


def test_the_own_promise_does_not_change_what_is_probed():
    made = scorer({}, {"itself": 1e6, "capacity": 1.0}, temperature=1e-6, d=1)
    assert made.probes(state(peer_capacity_hz=[9e9, 1e9, 2e9, 3e9]), DRAWS).tolist() == [[3]]
