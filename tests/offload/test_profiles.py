"""Tests observation profiles: an actor gets the observations it was trained on, and unsuitable models are rejected."""

import dataclasses
import json

import numpy as np
import pytest

from offload import make_profile, resolve_settings
from offload.conformance import random_states
from offload.profiles import PROFILES


def profile(name="default", nodes=5, **network):
    return make_profile(resolve_settings([{"node": {"profile": name}, "network": {"nodes": nodes, **network}}]))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("nodes", [1, 5, 40])
def test_observations_lie_between_0_and_1_and_have_a_name_for_every_element(name, nodes):
    made = profile(name, nodes)
    encoded = made.encode(random_states(np.random.default_rng(1), nodes, 300))
    assert encoded.dtype == np.float32
    assert encoded.shape == (300, made.size) == (300, len(set(made.elements())))
    assert encoded.min() >= 0.0
    assert encoded.max() <= 1.0


def test_the_papers_profile_has_exactly_the_papers_elements():
    """Section IV-B1: three scalars of the node, its queues, rates and task; and the one-hot index of IV-C2."""
    elements = profile("paper", 3).elements()
    assert elements == [
        "arrival_probability", "failure_rate", "capacity", "execution_queue_length",
        "receiving_queue_length[0]", "receiving_queue_length[1]", "receiving_queue_length[2]",
        "rate[0]", "rate[1]", "rate[2]", "size", "cycles", "deadline", "index[0]", "index[1]", "index[2]",
    ]  # fmt: skip


def test_default_profile_extends_the_paper_profile():
    paper, default = profile("paper", 3).elements(), profile("default", 3).elements()
    assert default[: len(paper)] == paper
    assert default[len(paper) :] == [
        "execution_backlog", "sending_backlog[0]", "sending_backlog[1]", "sending_backlog[2]", "receiving_work",
        "overloaded[0]", "overloaded[1]", "overloaded[2]",
    ]  # fmt: skip


def test_every_element_is_its_value_by_its_maximum():
    made, states = profile("default", 3), random_states(np.random.default_rng(2), 3, 20)
    seen = dict(zip(made.elements(), made.encode(states).T, strict=True))
    np.testing.assert_allclose(seen["capacity"], states.capacity_hz / 96e9, rtol=1e-6)
    np.testing.assert_allclose(seen["size"], states.size_bits / 20e6, rtol=1e-6)
    np.testing.assert_allclose(seen["cycles"], states.cycles / (20e6 * 800), rtol=1e-6)
    np.testing.assert_allclose(seen["failure_rate"], states.failure_rate / 0.4, rtol=1e-6)
    np.testing.assert_allclose(seen["execution_backlog"], np.minimum(states.execution_backlog_s, 1), rtol=1e-6)
    for j in range(3):
        np.testing.assert_array_equal(seen[f"index[{j}]"], states.node == j)
        np.testing.assert_array_equal(seen[f"overloaded[{j}]"], states.overloaded[:, j])
        rate = np.where(states.node == j, 0.0, states.rate_bps[:, j]) / 320e6
        np.testing.assert_allclose(seen[f"rate[{j}]"], rate, rtol=1e-6)


def test_a_state_without_a_task_and_beyond_the_maxima_is_encoded_too():
    states = random_states(np.random.default_rng(3), 4, 1)
    nothing = np.zeros(1)
    states = dataclasses.replace(
        states, has_task=np.array([False]), size_bits=nothing, cycles=nothing, deadline_s=nothing,
        execution_queue_length=np.array([10_000]), execution_backlog_s=np.array([1e9]),
    )  # fmt: skip
    encoded = profile("default", 4).encode(states)
    assert np.isfinite(encoded).all()
    assert encoded.max() == 1.0


def test_a_row_is_encoded_alike_alone_and_among_others():
    made, states = profile("default", 6), random_states(np.random.default_rng(4), 6, 30)
    together = made.encode(states)
    for b in range(30):
        np.testing.assert_array_equal(made.encode(states.take(np.array([b])))[0], together[b])


def test_the_same_profile_read_back_from_a_manifest_is_no_difference():
    made = profile()
    assert made.differences(json.loads(json.dumps(made.to_json()))) == []


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (profile(nodes=7), ["nodes", "7", "5"]),
        (profile("paper"), ["name", "'paper'", "'default'"]),
        (profile(rate_bps=["10 MB/s", "80 MB/s"]), ["maximum of rate_bps", "640000000", "320000000"]),
        (dataclasses.replace(profile(), version=2), ["version", "2", "1"]),
    ],
)
def test_what_differs_is_said_with_both_sides(other, parts):
    lines = profile().differences(other.to_json())
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]


def test_manifest_without_a_profile_differs_in_everything():
    assert len(profile().differences({})) > 3


def test_an_unknown_profile_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"node\.profile.*'papr'.*paper, default"):
        profile("papr")


def test_a_network_without_failures_can_be_encoded():
    assert profile(failure_rate=[0, 0]).maxima["failure_rate"] == 1.0
