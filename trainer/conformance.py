"""Checks that a learning algorithm conforms to the rules of the pipeline. Call it in the tests of your algorithm:

    from trainer.conformance import check_algorithm
    check_algorithm(Cloning)
    check_algorithm(lambda context: Cloning(context, learning_rate=0.01))

An algorithm that passes

* continues exactly after an interruption
* exports an actor whose ONNX model computes what torch computes
* does not depend on illegal actions
* draws all randomness from its context
* finds the best policy of a small environment (`tiny_world`, or `tiny_candidates` for the scheduler `scorer`)

The check takes some seconds. An AssertionError says what is wrong.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from offload.manifest import ACTOR_INPUT, ACTOR_OUTPUT
from offload.parameters import defaults_of, fault_of_form
from offload.settings import LearnerSettings, OfflineSettings, OnlineSettings
from trainer.algorithms import PHASES, fault_of_class
from trainer.algorithms.on_policy import OffPolicyError
from trainer.algorithms.protocols import AlgorithmContext, Curve, TrainingState
from trainer.export import actor_to_onnx
from trainer.learner import Learner, LearnerError
from trainer.networks import choose_device, mlp
from trainer.seeds import Stream, generator, seeded_initialization
from trainer.tiny_candidates import CandidateWorld
from trainer.tiny_world import NODES, OBSERVATION, ActionWorld, play

Factory = Callable[[AlgorithmContext], Any]

_PLAYED = 6
_TOLERANCE = 1e-5
"""Relative and absolute tolerance of logits and probabilities; actors are float32."""
_OFFLINE = OfflineSettings(learning_rate=3e-3, soft_update=0.02, discount=0.9)
_ONLINE = OnlineSettings(learning_rate=1e-2, minibatch_rows=256, discount=0.5, gae_lambda=0.5)
_LEARNER = LearnerSettings(hidden=(32, 32), device="cpu")


def check_algorithm(
    factory: Factory,
    *,
    offline: OfflineSettings = _OFFLINE,
    online: OnlineSettings = _ONLINE,
    steps: int | None = None,
    reaches: float = 0.9,
    seed: int = 1,
) -> None:
    """Raise AssertionError, with the reason, unless the factory's algorithms conform.

    factory: makes an algorithm from a context; the algorithm's class is one
    offline, online: the settings sections of the context; the defaults suit the small environment
    steps: gradient steps or updates in the small environment (by default 400 steps, or `updates` of the environment)
    reaches: the least probability that the trained actor must give to the best action of every observation; for the
        scheduler `scorer`, the least share of decisions in which the best candidate has the highest value
    """
    context = AlgorithmContext(OBSERVATION, NODES + 1, seed, _LEARNER, offline, online)
    with _one_thread():
        _check(factory, context, steps, reaches)


def _check(factory: Factory, context: AlgorithmContext, steps: int | None, reaches: float) -> None:
    algorithm = factory(context)
    where = type(algorithm).__name__
    _check_form(where, type(algorithm))
    world: ActionWorld | CandidateWorld = ActionWorld()
    if getattr(algorithm, "scheduler", "drl") == "scorer":
        world = CandidateWorld()
        context = replace(context, observation_size=world.inputs, actions=world.outputs)
    bench: _Bench
    if algorithm.phase == "offline":
        bench = _OfflineBench(where, factory, context, world, steps or 400)
    else:
        bench = _OnlineBench(where, factory, context, world, steps or world.updates)
    _check_fresh(bench)
    _check_steps(bench)
    _check_repeatable(bench)
    _check_continues(bench)
    _check_refuses(bench)
    if isinstance(world, ActionWorld):
        _check_masks(bench)
    if isinstance(bench, _OnlineBench):
        _check_start(bench)
        _check_on_policy(bench, algorithm.on_policy)
    state = bench.trained(bench.steps)
    _check_export(where, world, state.actor)
    found = world.probability_of_best(state.actor)
    _require(
        found >= reaches,
        f"{where}: after {bench.steps} steps in the small environment, the best choice has probability {found:.2f}; it "
        f"must have at least {reaches:g}",
    )


@dataclass
class _Bench:
    """Trains an algorithm in the small environment. Every call makes a new instance of the algorithm."""

    where: str
    factory: Factory
    context: AlgorithmContext
    world: ActionWorld | CandidateWorld
    steps: int

    def fresh(self, context: AlgorithmContext | None = None) -> TrainingState:
        raise NotImplementedError

    def advance(self, state: TrainingState, allowed: Sequence[int] | None = None) -> Mapping[str, Any]:
        """Do one step. allowed: the nodes that tasks may go to; all by default."""
        raise NotImplementedError

    def trained(self, steps: int) -> TrainingState:
        state = self.fresh()
        for _ in range(steps):
            self.advance(state)
        return state

    @property
    def curves(self) -> Mapping[str, Curve]:
        curves: Mapping[str, Curve] = self.factory(self.context).curves
        return curves


class _OfflineBench(_Bench):
    def fresh(self, context: AlgorithmContext | None = None) -> TrainingState:
        state: TrainingState = self.factory(context or self.context).fresh(self.world.rewards)
        return state

    def advance(self, state: TrainingState, allowed: Sequence[int] | None = None) -> Mapping[str, Any]:
        batch = self.world.batch(generator(self.context.seed, Stream.REPLAY, state.step), allowed)
        kept = copy.deepcopy(batch)
        numbers: Mapping[str, Any] = self.factory(self.context).train(state, batch)
        _require(_same(batch, kept), f"{self.where}: train() changed the minibatch that it was given")
        return numbers


class _OnlineBench(_Bench):
    def fresh(self, context: AlgorithmContext | None = None) -> TrainingState:
        state: TrainingState = self.factory(context or self.context).fresh()
        return state

    def episodes(self, state: TrainingState, allowed: Sequence[int] | None = None) -> list[Any]:
        first = _PLAYED * state.step
        return [self.world.episode(state.actor, first + k, allowed) for k in range(_PLAYED)]

    def advance(self, state: TrainingState, allowed: Sequence[int] | None = None) -> Mapping[str, Any]:
        episodes = self.episodes(state, allowed)
        kept = copy.deepcopy(episodes)
        numbers: Mapping[str, Any] = self.factory(self.context).update(state, episodes, self.steps)
        changed = any(not _same(one, other) for one, other in zip(episodes, kept, strict=True))
        _require(not changed, f"{self.where}: update() changed the episodes that it was given")
        return numbers


def _check_form(where: str, kind: Any) -> None:
    fault = fault_of_form(kind) or fault_of_class(kind)
    _require(fault is None, f"{where} {fault}")
    _require(kind.phase in PHASES, f"{where}: phase is {kind.phase!r}")
    text = kind.__doc__ or ""
    _require(bool(text) and not text.startswith(f"{kind.__name__}("), f"{where} has no docstring")
    for name in defaults_of(kind):
        _require(
            re.search(rf"\b{name}`?: \S", text) is not None,
            f"{where}: its docstring does not explain the parameter '{name}' (`{name}: meaning`)",
        )
    wrong = [key for key, curve in kind.curves.items() if not (isinstance(curve, Curve) and curve.label)]
    _require(not wrong, f"{where}: curves[{wrong[:1]}] is not a Curve with a label")


def _check_fresh(bench: _Bench) -> None:
    where, state = bench.where, bench.fresh()
    _require(state.step == 0, f"{where}: step of a fresh state is {state.step}, not 0")
    _require(bench.fresh().to_bytes() == state.to_bytes(), f"{where}: two fresh states of the same seed differ")
    other = bench.fresh(replace(bench.context, seed=bench.context.seed + 1))
    _require(other.to_bytes() != state.to_bytes(), f"{where}: a fresh state does not depend on the seed")
    with _global_randomness(5):
        changed = bench.fresh().to_bytes() != state.to_bytes()
    _require(not changed, f"{where}: a fresh state depends on the global random state, not on context.seed alone")
    logits = _logits(where, bench.world, state.actor, 7)
    fits = logits.shape == (7, bench.world.outputs)
    _require(fits, f"{where}: the actor gives {tuple(logits.shape)} for 7 rows, not {bench.world.shape}")


def _check_steps(bench: _Bench) -> None:
    where, state = bench.where, bench.fresh()
    for step in (1, 2):
        numbers = bench.advance(state)
        _require(state.step == step, f"{where}: after {step} steps, state.step is {state.step}")
        _require(
            set(numbers) == set(bench.curves),
            f"{where}: a step returns {sorted(numbers)}, and `curves` names {sorted(bench.curves)}",
        )
        wrong = [key for key, value in numbers.items() if not math.isfinite(float(value))]
        _require(not wrong, f"{where}: {wrong[:1]} of step {step} is not finite")


def _check_repeatable(bench: _Bench) -> None:
    content = bench.trained(3).to_bytes()
    _require(bench.trained(3).to_bytes() == content, f"{bench.where}: training twice with the same seed differs")
    with _global_randomness(5):
        changed = bench.trained(3).to_bytes() != content
    _require(not changed, f"{bench.where}: training depends on the global random state, not on context.seed alone")
    before = torch.get_rng_state().clone(), _numpy_state()
    bench.trained(1)
    untouched = torch.equal(torch.get_rng_state(), before[0]) and _numpy_state() == before[1]
    _require(untouched, f"{bench.where}: it draws from the global random state; use trainer.seeds")


def _check_continues(bench: _Bench) -> None:
    where = bench.where
    straight = bench.trained(5)
    saved = bench.trained(2).to_bytes()
    resumed = bench.fresh(replace(bench.context, seed=bench.context.seed + 1))
    resumed.load_bytes(saved)
    _require(resumed.step == 2, f"{where}: after loading a state of step 2, state.step is {resumed.step}")
    _require(resumed.to_bytes() == saved, f"{where}: a state that was saved and loaded is saved differently")
    for _ in range(3):
        bench.advance(resumed)
    same = resumed.to_bytes() == straight.to_bytes()
    _require(same, f"{where}: saved at step 2, loaded and continued to step 5, it differs from an uninterrupted run")


def _check_refuses(bench: _Bench) -> None:
    where, state = bench.where, bench.fresh()
    before = state.to_bytes()
    wider = bench.context.observation_size + 1
    larger = bench.fresh(replace(bench.context, observation_size=wider)).to_bytes()
    for content, what in ((before[:-10], "truncated bytes"), (larger, "a state for other observations")):
        try:
            state.load_bytes(content)
        except LearnerError:
            _require(state.to_bytes() == before, f"{where}: {what} are rejected, but have changed the state")
        except Exception as error:  # an algorithm of another package may raise anything
            raise AssertionError(
                f"{where}: {what} are rejected with {type(error).__name__}, not LearnerError"
            ) from error
        else:
            raise AssertionError(f"{where}: {what} are accepted; raise LearnerError")


def _check_masks(bench: _Bench) -> None:
    """Check that the actor's logit of an action that is never legal has no effect, and that it is never taken."""
    allowed = (0, 1)
    policies = []
    for shift in (0.0, 5.0):
        state = bench.fresh()
        _shift(bench.where, state.actor, NODES - 1, shift)
        for _ in range(3):
            bench.advance(state, allowed)
        log = play(state.actor, 0, allowed=allowed)
        legal = np.take_along_axis(log.masks, log.actions[..., None], -1)
        _require(legal.all(), f"{bench.where}: the trained actor takes an illegal action")
        logits = _logits(bench.where, bench.world, state.actor, 40)[:, list(allowed)]
        policies.append(torch.softmax(logits, dim=-1))
    _require(
        torch.allclose(policies[0], policies[1], rtol=1e-3, atol=1e-4),
        f"{bench.where}: the actor's logit of an illegal action changes the training; "
        "mask with trainer.networks.masked_policy",
    )


def _check_start(bench: _OnlineBench) -> None:
    where = bench.where
    algorithm = bench.factory(bench.context)
    with seeded_initialization(77):
        small = Learner({"actor": mlp(bench.world.inputs, (3,), bench.world.outputs)}, {}, choose_device("cpu"))
    offline = bench.fresh(replace(bench.context, seed=bench.context.seed + 77))
    state = bench.fresh()
    algorithm.start_from(state, offline.to_bytes())
    taken = torch.equal(_logits(where, bench.world, state.actor, 9), _logits(where, bench.world, offline.actor, 9))
    _require(taken, f"{where}: start_from() does not take over the actor of the offline state")
    _require(state.step == 0, f"{where}: after start_from(), state.step is {state.step}, not 0")
    try:
        algorithm.start_from(state, small.to_bytes())
    except LearnerError:
        return
    raise AssertionError(f"{where}: start_from() accepts an actor of another size; raise LearnerError")


def _check_on_policy(bench: _OnlineBench, on_policy: bool) -> None:
    if not on_policy:
        return
    state = bench.fresh()
    episodes = bench.episodes(bench.fresh(replace(bench.context, seed=bench.context.seed + 1)))
    before = state.to_bytes()
    try:
        bench.factory(bench.context).update(state, episodes, bench.steps)
    except OffPolicyError:
        _require(state.to_bytes() == before, f"{bench.where}: rejected episodes have changed the state")
        return
    raise AssertionError(
        f"{bench.where}: it is on-policy, but trains on episodes of another actor; use trainer.algorithms.on_policy"
    )


def _check_export(where: str, world: ActionWorld | CandidateWorld, actor: nn.Module) -> None:
    try:
        content = actor_to_onnx(actor)
    except Exception as error:  # torch raises many kinds
        raise AssertionError(f"{where}: the actor cannot be exported: {error}") from error
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for rows in (1, 77):
        expected = _logits(where, world, actor, rows).numpy()
        (found,) = session.run([ACTOR_OUTPUT], {ACTOR_INPUT: _observations(world, rows).numpy()})
        same = np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
        _require(same, f"{where}: the exported actor computes other logits than torch, for {rows} rows")


def _shift(where: str, actor: nn.Module, action: int, by: float) -> None:
    last = list(actor.children())[-1] if list(actor.children()) else None
    if not isinstance(last, nn.Linear):
        raise AssertionError(f"{where}: the actor's last layer is not Linear; make it with trainer.networks.mlp")
    with torch.no_grad():
        last.bias[action] += by


def _observations(world: ActionWorld | CandidateWorld, rows: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(rows).random((rows, world.inputs), dtype=np.float32))


def _logits(where: str, world: ActionWorld | CandidateWorld, actor: nn.Module, rows: int) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = actor(_observations(world, rows))
    _require(bool(torch.isfinite(logits).all()), f"{where}: the actor gives logits that are not finite")
    return logits


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch with one thread, as the pipeline does: the networks are small, and more threads are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """Set other global random states; restore the old ones afterwards."""
    kept = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        yield
    np.random.set_state(kept)


def _numpy_state() -> str:
    """The whole state of NumPy's global generator. Every draw changes it."""
    with np.printoptions(threshold=1000):
        return repr(np.random.get_state())


def _same(one: Any, other: Any) -> bool:
    """Whether two dataclasses of arrays have the same values; NaN equals NaN."""
    for name in one.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            if not np.array_equal(a, b, equal_nan=bool(np.issubdtype(a.dtype, np.floating))):
                return False
        elif a != b:
            return False
    return True


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise AssertionError(message)
