"""Tests that nodes act by the trained policy: otherwise PPO's updates would be wrong."""

import dataclasses

import numpy as np
import pytest
import torch
from small_states import DRAWS, answers, many, silent, state

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.actor import OnnxActor
from offload import SchedulerContext, action_mask
from offload.conformance import check_scheduler, draws_for, example_context, random_states
from trainer.export import actor_to_onnx
from trainer.networks import masked_policy, mlp


class FixedActor:
    """The same logits for all observations."""

    def __init__(self, *logits):
        self.row = np.array(logits, dtype=np.float32)

    def logits(self, observations):
        return np.tile(self.row, (len(observations), 1))


def with_logits(name, *logits, **parameters):
    context = dataclasses.replace(example_context(len(logits) - 1), actor=FixedActor(*logits))
    return create_scheduler(name, parameters, context)


def trained_like(nodes, seed=0):
    """A network as the trainer creates it, and the actor that a node creates from its ONNX file."""
    torch.manual_seed(seed)
    network = mlp(example_context(nodes).profile.size, (64, 64), nodes + 1)
    with torch.no_grad():
        network[-1].weight *= 8  # an untrained network is nearly uniform, which would hide mistakes
    return network, OnnxActor(actor_to_onnx(network))


def test_drl_samples_from_the_softmax_it_does_not_take_the_maximum():
    states, draws = many(state(), 40_000)
    made = with_logits("drl", 0.0, 1.0, 2.0, -1.0, 9.0).choose(states, silent(), draws)
    expected = np.exp([0.0, 1.0, 2.0, -1.0]) / np.exp([0.0, 1.0, 2.0, -1.0]).sum()  # "no task" is illegal: left out
    np.testing.assert_allclose(np.bincount(made.destination, minlength=4) / 40_000, expected, atol=0.01)
    np.testing.assert_allclose(made.scores[0], expected, rtol=1e-6)
    np.testing.assert_allclose(made.log_probability, np.log(expected)[made.destination], rtol=1e-6)


def test_drl_never_chooses_an_overloaded_node():
    states, draws = many(state(overloaded=[True, False, True, True]), 5_000)
    made = with_logits("drl", -20.0, 0.0, 80.0, 80.0, 80.0).choose(states, silent(), draws)
    assert set(made.destination.tolist()) <= {0, 1}
    assert made.scores[0].tolist()[2:] == [0.0, 0.0]


def test_drl_stays_when_all_others_are_overloaded():
    made = with_logits("drl", -50.0, 9.0, 9.0, 9.0, 9.0).choose(state(overloaded=[True] * 4), silent(), DRAWS)
    assert made.destination.tolist() == [0]
    assert made.log_probability.tolist() == [0.0]


@pytest.mark.parametrize("nodes", [1, 3, 10, 40])
def test_the_trainer_recomputes_the_recorded_log_probabilities_within_1e_4(nodes):
    network, actor = trained_like(nodes)
    context = dataclasses.replace(example_context(nodes), actor=actor)
    states = random_states(np.random.default_rng(nodes), nodes, 500)
    made = create_scheduler("drl", {}, context).choose(states, silent(), draws_for(states, 1))
    observations = torch.from_numpy(context.profile.encode(states))
    with torch.no_grad():
        policy = masked_policy(network(observations), torch.from_numpy(action_mask(states)))
    recomputed = np.log(policy.probabilities.numpy()[np.arange(500), made.destination])
    np.testing.assert_allclose(made.log_probability.astype(np.float32), recomputed, atol=1e-4)


@pytest.mark.parametrize("name", ["drl", "drl-probe"])
def test_learned_schedulers_conform_with_a_real_actor(name):
    def factory(context):
        return create_scheduler(name, {}, dataclasses.replace(context, actor=trained_like(context.nodes)[1]))

    check_scheduler(factory, nodes=(1, 2, 10))


def test_drl_probe_proposes_distinct_others_by_probability():
    states, draws = many(state(), 40_000)
    probes = with_logits("drl-probe", 5.0, 1.0, 2.0, 0.0, 9.0).probes(states, draws)
    assert probes.shape == (40_000, 2)
    assert not (probes == 0).any()
    weight = np.exp([0.0, 1.0, 2.0, 0.0])
    weight[0] = 0.0  # itself need not be asked
    for first in (1, 2, 3):
        for second in {1, 2, 3} - {first}:
            expected = weight[first] / weight.sum() * weight[second] / (weight.sum() - weight[first])
            share = ((probes[:, 0] == first) & (probes[:, 1] == second)).mean()
            assert share == pytest.approx(expected, abs=0.01)


def test_drl_probe_asks_no_overloaded_node_even_if_fewer_are_left():
    made = with_logits("drl-probe", 0.0, -90.0, 90.0, 90.0, 90.0)
    assert made.probes(state(overloaded=[False, False, True, True]), DRAWS).tolist() == [[1, -1]]
    assert made.probes(state(overloaded=[False, True, True, True]), DRAWS).tolist() == [[-1, -1]]


def test_drl_probe_proposes_a_node_of_negligible_probability():
    made = with_logits("drl-probe", 0.0, 5_000.0, 0.0, -4_000.0, 0.0)
    assert made.probes(state(), DRAWS).tolist() == [[1, 2]]


def test_drl_probe_takes_the_lowest_delay_among_the_probed_and_itself():
    made = with_logits("drl-probe", 0.0, 0.0, 0.0, 0.0, 0.0)
    slow, fast = {"node": 1, "execution_backlog_s": 0.3}, {"node": 2, "execution_backlog_s": 0.2}
    choice = made.choose(state(), answers(slow, fast), DRAWS)
    assert choice.destination.tolist() == [2]
    assert np.isnan(choice.log_probability[0])
    np.testing.assert_allclose(choice.scores[0], [1.0, 0.8, 0.7, np.nan])
    assert made.choose(state(capacity_hz=9e9), answers(slow, fast), DRAWS).destination.tolist() == [0]


@pytest.mark.parametrize("name", ["drl", "drl-probe"])
def test_without_an_active_model_it_is_refused_when_it_is_made(name):
    with pytest.raises(ValueError, match=r"scheduler\.model.*needs a model"):
        create_scheduler(name, {}, SchedulerContext(nodes=3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_actor_that_diverged_is_an_error_and_not_a_quiet_choice(bad):
    with pytest.raises(ValueError, match="logits are not finite"):
        with_logits("drl", 0.0, bad, 0.0, 0.0, 0.0).choose(state(), silent(), DRAWS)


def test_an_actor_gives_the_networks_logits_for_one_row_and_for_many():
    network, actor = trained_like(5)
    observations = example_context(5).profile.encode(random_states(np.random.default_rng(0), 5, 64))
    with torch.no_grad():
        expected = network(torch.from_numpy(observations)).numpy()
    np.testing.assert_allclose(actor.logits(observations), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actor.logits(observations[:1]), expected[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle"])
def test_bytes_that_are_not_a_model_are_refused_with_a_message(content):
    with pytest.raises(ValueError, match="not an ONNX model"):
        OnnxActor(content)


def test_truncated_model_is_refused_with_a_message():
    torch.manual_seed(0)
    content = actor_to_onnx(mlp(4, (8,), 3))
    with pytest.raises(ValueError, match="not an ONNX model"):
        OnnxActor(content[: len(content) // 2])


def test_another_kind_of_onnx_model_is_refused_with_what_is_needed():
    import onnx

    torch.manual_seed(0)
    model = onnx.load_from_string(actor_to_onnx(mlp(4, (8,), 3)))
    old = model.graph.output[0].name
    model.graph.output[0].name = "other"
    for node in model.graph.node:
        node.output[:] = ["other" if name == old else name for name in node.output]
    with pytest.raises(ValueError, match=r"outputs \['other'\].*\['logits'\]"):
        OnnxActor(model.SerializeToString())
