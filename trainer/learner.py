"""Saves and loads a learner's whole state as safetensors bytes: parameters, optimizers, step, reward statistics.

`Learner` is a `trainer.algorithms.protocols.TrainingState` that any algorithm can use. The algorithm names the modules
and the optimizers.

The bytes are sufficient to continue exactly: a learner that was saved and loaded takes the same next step, bit for bit,
as one that was not interrupted. Keys: `parameters/<module>.<name>`, `optimizers/<optimizer>/<module>.<name>/<moment>`,
`step`, `reward_mean`, `reward_std`. Pickle is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from offload.errors import UserError
from trainer.transitions import RewardStatistics

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class LearnerError(UserError, ValueError):
    """A saved learner does not fit the learner that loads it; the message names the tensor."""


class DivergenceError(UserError):
    """Training produced numbers that are not finite. No model is published from them."""


class Learner:
    """Modules by role (`actor`, `critic`, `q1`, …), and one Adam optimizer per group of modules.

    optimizers: {name: (modules' names, learning rate)}; no optimizer trains a module in no group (a target network)
    step: gradient steps (offline) or updates (online) so far
    rewards: the statistics for the normalization of rewards; None if there are none yet
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, tuple[Sequence[str], float]],
        device: torch.device,
        rewards: RewardStatistics | None = None,
    ) -> None:
        self.modules = {name: module.to(device) for name, module in modules.items()}
        self.device = device
        self.step = 0
        self.rewards = rewards
        self._groups = {name: tuple(members) for name, (members, _) in optimizers.items()}
        self._grouped = {name: [parameter for _, parameter in self._members(name)] for name in optimizers}
        self._optimizers = {
            name: torch.optim.Adam(self._grouped[name], lr=rate, fused=True) for name, (_, rate) in optimizers.items()
        }

    def __getitem__(self, name: str) -> nn.Module:
        return self.modules[name]

    @property
    def actor(self) -> nn.Module:
        """The module `actor`, which the nodes run."""
        return self.modules["actor"]

    def descend(self, optimizer: str, loss: Tensor, gradient_clip: float | None = None) -> None:
        """Take one Adam step of a group to reduce `loss`. gradient_clip: the largest norm of the group's gradient."""
        self.descend_all({optimizer: loss}, gradient_clip)

    def descend_all(self, losses: Mapping[str, Tensor], gradient_clip: float | None = None) -> None:
        """Take one Adam step of several groups, each to reduce its own loss.

        One pass computes all gradients, which is faster than a pass for each group. So the loss of one group must not
        depend on the parameters of another: detach what it reads of them.
        """
        parameters = [parameter for name in losses for parameter in self._grouped[name]]
        gradients = torch.autograd.grad(list(losses.values()), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for name in losses:
            if gradient_clip is not None:
                nn.utils.clip_grad_norm_(self._grouped[name], gradient_clip)
            self._optimizers[name].step()
            self._optimizers[name].zero_grad()

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all optimizers."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def to_bytes(self) -> bytes:
        """The whole state as safetensors. The same state gives the same bytes."""
        tensors: dict[str, Tensor] = {"step": torch.tensor(self.step, dtype=torch.int64)}
        if self.rewards is not None:
            tensors["reward_mean"] = torch.tensor(self.rewards.mean, dtype=torch.float64)
            tensors["reward_std"] = torch.tensor(self.rewards.std, dtype=torch.float64)
        for key, parameter in self._parameters():
            tensors[f"parameters/{key}"] = parameter.detach()
        for name, optimizer in self._optimizers.items():
            for key, parameter in self._members(name):
                for moment, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizers/{name}/{key}/{moment}"] = value
        return safetensors.torch.save({key: value.cpu().contiguous() for key, value in tensors.items()})

    def load_bytes(self, content: bytes) -> None:
        """Load a whole state. Raises LearnerError, and changes nothing, when it is of another kind of learner."""
        tensors = _read(content)
        self._check(tensors, [key for key, _ in self._parameters()])
        rewards = None
        if "reward_mean" in tensors:
            rewards = RewardStatistics(float(tensors["reward_mean"]), float(tensors["reward_std"]))
        with torch.no_grad():
            for key, parameter in self._parameters():
                parameter.copy_(tensors[f"parameters/{key}"])
        for name, optimizer in self._optimizers.items():
            optimizer.state.clear()
            for key, parameter in self._members(name):
                prefix = f"optimizers/{name}/{key}/"
                if prefix + "step" in tensors:
                    moments = {moment: tensors[prefix + moment].to(self.device).clone() for moment in _MOMENTS}
                    optimizer.state[parameter] = moments
        self.step, self.rewards = int(tensors["step"]), rewards

    def load_modules(self, content: bytes, names: Sequence[str]) -> None:
        """Load only the parameters of some modules and the reward statistics. Online training starts this way.

        Raises LearnerError, and changes nothing, when parameters are missing or have other shapes.
        """
        tensors = _read(content)
        wanted = [(key, parameter) for key, parameter in self._parameters() if key.split(".", 1)[0] in names]
        self._check(tensors, [key for key, _ in wanted])
        with torch.no_grad():
            for key, parameter in wanted:
                parameter.copy_(tensors[f"parameters/{key}"])
        if "reward_mean" in tensors:
            self.rewards = RewardStatistics(float(tensors["reward_mean"]), float(tensors["reward_std"]))

    def _check(self, tensors: Mapping[str, Tensor], keys: Sequence[str]) -> None:
        if "step" not in tensors:
            raise LearnerError("these bytes are not a saved learner: they contain no `step`")
        own = dict(self._parameters())
        for key in keys:
            saved = tensors.get(f"parameters/{key}")
            if saved is None:
                raise LearnerError(f"the saved learner has no parameters {key}: another algorithm saved it")
            if saved.shape != own[key].shape:
                raise LearnerError(
                    f"the saved learner's {key} has shape {tuple(saved.shape)}, "
                    f"this one's has {tuple(own[key].shape)}: "
                    "it was trained for another network size, profile or learner.hidden"
                )

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, module in self.modules.items():
            for key, parameter in module.named_parameters():
                yield f"{name}.{key}", parameter

    def _members(self, optimizer: str) -> Iterator[tuple[str, nn.Parameter]]:
        for name in self._groups[optimizer]:
            for key, parameter in self.modules[name].named_parameters():
                yield f"{name}.{key}", parameter


def saved_modules(content: bytes) -> set[str]:
    """The names of the modules in the bytes of a saved learner. Raises LearnerError when they cannot be read."""
    parts = (key.split("/", 1) for key in _read(content))
    return {rest[0].split(".", 1)[0] for kind, *rest in parts if kind == "parameters" and rest}


def check_finite(losses: Mapping[str, float], place: str, setting: str) -> None:
    """Raise DivergenceError when a loss is infinite or NaN. The message names the place and the setting to lower."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergenceError(f"training diverged at {place}: {name} is {value}; try a lower {setting}")


def _read(content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as damaged:
        raise LearnerError(f"the saved learner cannot be read: {damaged}") from None
