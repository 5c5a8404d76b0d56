"""Tests masks and networks, and that a node's actor computes the same as the trainer's."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from trainer.export import actor_to_onnx
from trainer.networks import choose_device, masked_policy, mlp


def test_illegal_actions_have_probability_exactly_zero_whatever_their_logits() -> None:
    logits = torch.tensor([[1e4, 0.0, 1.0], [5.0, -1e4, 3.0]], requires_grad=True)
    mask = torch.tensor([[False, True, True], [False, True, False]])
    policy = masked_policy(logits, mask)
    assert policy.probabilities[~mask].tolist() == [0.0, 0.0, 0.0]
    assert policy.probabilities.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert policy.probabilities[1, 1].item() == 1.0
    assert policy.entropy()[1].item() == 0.0
    assert torch.isfinite(policy.log_probabilities).all()
    assert policy.log_probability(torch.tensor([2, 1])).tolist() == pytest.approx([np.log(np.e / (1 + np.e)), 0.0])


def test_illegal_actions_get_no_gradient_and_nothing_becomes_nan() -> None:
    logits = torch.tensor([[1e4, 0.0, 1.0], [5.0, -1e4, 3.0]], requires_grad=True)
    mask = torch.tensor([[False, True, True], [False, True, False]])
    policy = masked_policy(logits, mask)
    q = torch.tensor([[9.0, 1.0, 2.0], [9.0, 1.0, 2.0]])
    (policy.probabilities * (q - 0.1 * policy.log_probabilities)).sum().backward()
    assert logits.grad is not None
    assert logits.grad[~mask].tolist() == [0.0, 0.0, 0.0]
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1].item() != 0.0


@pytest.mark.parametrize("hidden", [(64, 64), (16,), ()])
@pytest.mark.parametrize("batch", [1, 77])
def test_the_exported_actor_computes_the_same_logits(hidden: tuple[int, ...], batch: int) -> None:
    torch.manual_seed(0)
    actor = mlp(59, hidden, 11)
    content = actor_to_onnx(actor)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    observations = np.random.default_rng(0).random((batch, 59), dtype=np.float32)
    (logits,) = session.run(["logits"], {"observation": observations})
    with torch.no_grad():
        expected = actor(torch.from_numpy(observations)).numpy()
    assert logits.shape == (batch, 11)
    assert np.allclose(logits, expected, atol=1e-5)


def test_an_exported_actor_is_below_the_papers_100_kilobytes() -> None:
    assert len(actor_to_onnx(mlp(59, (64, 64), 11))) < 100_000


def test_a_layer_that_a_node_could_not_run_is_refused() -> None:
    with pytest.raises(TypeError, match="Dropout"):
        actor_to_onnx(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))


def test_the_device_is_checked() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="'gpu' is not a device; write auto, cpu, mps, cuda"):
        choose_device("gpu")
