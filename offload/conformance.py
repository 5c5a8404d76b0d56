"""Checks whether a scheduler conforms to the `Scheduler` protocol, with one call for your tests.

    from offload.conformance import check_scheduler
    check_scheduler(LeastLoaded)
    check_scheduler(lambda context: LeastLoaded(context, margin_s=0.2), nodes=(5,))

A scheduler that passes makes the same decisions in a node (one at a time) and in a simulator (thousands at once).
Its decisions can be replayed. It never sends a task to a node that it asked and that did not answer.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offload.draws import Draws
from offload.network import Network, draw_network
from offload.parameters import fault_of_form
from offload.profiles import make_profile
from offload.protocols import Choice, Scheduler, SchedulerContext
from offload.settings import Settings, resolve_settings
from offload.state import IntArray, LocalState, Reports, report_of

_TOLERANCE = 1e-5
"""Relative and absolute difference allowed between B rows at once and one by one: actors compute in float32."""


def check_scheduler(
    factory: Callable[[SchedulerContext], Scheduler],
    nodes: Sequence[int] = (1, 2, 3, 10, 100),
    batch: int = 48,
    seed: int = 1,
) -> None:
    """Raise AssertionError unless the factory's schedulers conform. The message says what is wrong and for which N.

    factory: makes a scheduler from a context, such as its class; the context has a profile and an untrained actor
    nodes: the sizes N of the networks; batch: decisions in each; seed: of the states and reports
    """
    for n in nodes:
        random = np.random.default_rng([seed, n])
        context = example_context(n)
        scheduler = factory(context)
        where = f"{type(scheduler).__name__} in a network of {n}"
        _check_form(where, scheduler)
        states = random_states(random, n, batch)
        draws = draws_for(states, seed)
        untouched = copy.deepcopy((states, draws))

        probes = scheduler.probes(states, draws)
        _check_probes(where, probes, states)
        full, some, none = (reports_for(random, states, probes, share) for share in (1.0, 0.6, 0.0))
        for reports in (full, some, none):
            kept = copy.deepcopy(reports)
            choice = scheduler.choose(states, reports, draws)
            _check_choice(where, choice, states)
            _require(_same(reports, kept), f"{where}: choose() changed the reports it was given")
            _check_absent(where, choice, states, reports)
            _check_repeatable(where, factory(context), states, draws, probes, reports, choice)
            _check_rows(where, scheduler, states, draws, probes, reports, choice)
            garbled = _garbled(reports)
            _require(
                _same(choice, scheduler.choose(states, garbled, draws)),
                f"{where}: the choice depends on the values in columns of unanswered probes",
            )
        _require(_same((states, draws), untouched), f"{where}: the states or draws were changed by the scheduler")


def example_network(nodes: int) -> Network:
    """The network of N nodes that the kit's states and contexts belong to; the same in every call."""
    return draw_network(_settings(nodes).network, seed=nodes)


def example_context(nodes: int) -> SchedulerContext:
    """A context with everything that a scheduler may use. Its actor is untrained and depends on N only."""
    profile = make_profile(_settings(nodes))
    weights = np.random.default_rng(nodes).normal(size=(profile.size, nodes + 1))
    return SchedulerContext(nodes, profile, _LinearActor(weights))


def random_states(random: np.random.Generator, nodes: int, batch: int) -> LocalState:
    """B snapshots of nodes of `example_network(nodes)`, each with a task: idle, busy and overloaded ones."""
    network, tasks = example_network(nodes), _settings(nodes).tasks
    node = random.integers(0, nodes, batch)
    own = node[:, None] == np.arange(nodes)
    size_bits = random.uniform(*tasks.size_bits, batch)
    load = random.choice([0.0, 0.3, 2.0], batch)
    sending_length = np.where(own, 0, random.poisson(load[:, None], (batch, nodes)))
    execution_length = random.poisson(2 * load)
    receiving_length = np.where(own, 0, random.poisson(load[:, None] / nodes, (batch, nodes)))
    return LocalState(
        node=node,
        slot=random.integers(0, 50, batch),
        has_task=np.ones(batch, dtype=bool),
        size_bits=size_bits,
        cycles=size_bits * random.uniform(*tasks.complexity_cycles_per_bit, batch),
        deadline_s=np.full(batch, tasks.deadline_s),
        arrival_probability=network.arrival_probability[node],
        failure_rate=network.failure_rate[node],
        capacity_hz=network.capacity_hz[node],
        peer_capacity_hz=np.broadcast_to(network.capacity_hz, (batch, nodes)),
        peer_failure_rate=np.broadcast_to(network.failure_rate, (batch, nodes)),
        rate_bps=np.where(own, np.inf, network.rate_bps[node]),
        link_failure_rate=np.where(own, 0.0, network.link_failure_rate[node]),
        execution_queue_length=execution_length,
        execution_backlog_s=execution_length * random.uniform(0.05, 0.3, batch),
        sending_queue_length=sending_length,
        sending_backlog_s=sending_length * random.uniform(0.02, 0.2, (batch, nodes)),
        receiving_queue_length=receiving_length,
        receiving_work_s=receiving_length.sum(axis=1) * random.uniform(0.05, 0.3, batch),
        overloaded=random.random((batch, nodes)) < random.choice([0.0, 0.3, 1.0], (batch, 1)),
    )


def draws_for(states: LocalState, seed: int) -> Draws:
    """The draws of these decisions. Every row belongs to a different episode."""
    return Draws(seed, np.arange(states.batch), states.slot, states.node)


def reports_for(random: np.random.Generator, states: LocalState, probes: IntArray, answer_share: float) -> Reports:
    """Answers to `probes` (B, d). On average this share is answered; a node's own probe always is."""
    network = example_network(states.nodes)
    node = np.maximum(probes, 0)
    own = probes == states.node[:, None]
    answered = own | ((probes >= 0) & (random.random(probes.shape) < answer_share))
    length = random.poisson(2.0, probes.shape)
    asked_count = np.where(own, 0, random.poisson(0.5, probes.shape))
    mine = report_of(states)
    drawn = {
        "answered_after_s": np.where(own, 0.0, random.uniform(1e-3, 0.1, probes.shape)),
        "capacity_hz": network.capacity_hz[node],
        "failure_rate": network.failure_rate[node],
        "execution_queue_length": np.where(own, mine.execution_queue_length, length),
        "execution_backlog_s": np.where(
            own, mine.execution_backlog_s, length * random.uniform(0.05, 0.3, probes.shape)
        ),
        "receiving_work_s": np.where(own, mine.receiving_work_s, random.exponential(0.1, probes.shape)),
        "pending_cycles": np.where(own, mine.pending_cycles, random.choice([0.0, 1e8, 5e8], probes.shape)),
        "asked_work_s": asked_count * random.uniform(0.01, 0.2, probes.shape),
        "asked_count": asked_count,
    }
    empty = Reports.none(*probes.shape)
    values = {name: np.where(answered, column, getattr(empty, name)) for name, column in drawn.items()}
    return Reports(node=probes.copy(), answered=answered, **values)


def _check_form(where: str, scheduler: Scheduler) -> None:
    for name in ("probes", "choose", "enough_reports"):
        _require(hasattr(scheduler, name), f"{where} has no '{name}'")
    enough = scheduler.enough_reports
    _require(
        enough is None or (isinstance(enough, int) and enough >= 1),
        f"{where}: enough_reports is {enough!r}; it is None or a whole number of at least 1",
    )
    for name in ("reservations", "confirm"):
        value = getattr(scheduler, name, False)
        _require(isinstance(value, bool), f"{where}: {name} is {value!r}; it is True or False")
    fault = fault_of_form(type(scheduler), with_types=False)
    _require(fault is None, f"{where} {fault}")


def _check_probes(where: str, probes: IntArray, states: LocalState) -> None:
    _require(isinstance(probes, np.ndarray) and probes.ndim == 2, f"{where}: probes() gave no array of shape (B, d)")
    _require(
        probes.shape[0] == states.batch,
        f"{where}: probes() gave {probes.shape[0]} rows for {states.batch} decisions",
    )
    _require(np.issubdtype(probes.dtype, np.integer), f"{where}: probes() gave {probes.dtype}, not whole numbers")
    wrong = probes[(probes < -1) | (probes >= states.nodes)]
    _require(not wrong.size, f"{where}: probes() asks {wrong[:1]}; nodes are 0 … {states.nodes - 1}, −1 is none")
    ordered = np.sort(probes, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    _require(not twice.any(), f"{where}: probes() asks a node twice in one decision: {probes[twice][:1]}")


def _check_choice(where: str, choice: Choice, states: LocalState) -> None:
    _require(isinstance(choice, Choice), f"{where}: choose() gave {type(choice).__name__}, not a Choice")
    fault = choice.fault(states.batch, states.nodes)
    _require(fault is None, f"{where}: {fault}")


def _check_absent(where: str, choice: Choice, states: LocalState, reports: Reports) -> None:
    chosen = choice.destination[:, None] == reports.node
    silent = (chosen & ~reports.answered).any(axis=1) & (choice.destination != states.node)
    _require(
        not silent.any(), f"{where}: chose node {choice.destination[silent][:1]}, which was probed and did not answer"
    )
    others = (reports.node >= 0) & (reports.node != states.node[:, None])
    nobody = others.any(axis=1) & ~(others & reports.answered).any(axis=1)
    elsewhere = nobody & (choice.destination != states.node)
    _require(
        not elsewhere.any(),
        f"{where}: no other node has answered, and the task goes to {choice.destination[elsewhere][:1]} "
        f"instead of staying at {states.node[elsewhere][:1]}",
    )


def _check_repeatable(
    where: str, fresh: Scheduler, states: LocalState, draws: Draws, probes: IntArray, reports: Reports, choice: Choice
) -> None:
    _require(
        _same(fresh.probes(states, draws), probes),
        f"{where}: probes() gives other nodes the second time; all randomness must come from draws, "
        "and no state may be kept",
    )
    # Another decision in between: state that it leaves behind would change the next choice.
    other = states.take(np.arange(states.batch)[::-1])
    fresh.choose(other, Reports.none(other.batch, probes.shape[1]), draws_for(other, draws.seed + 1))
    _require(
        _same(fresh.choose(states, reports, draws), choice),
        f"{where}: choose() differs the second time; all randomness must come from draws, and no state may be kept",
    )


def _check_rows(
    where: str,
    scheduler: Scheduler,
    states: LocalState,
    draws: Draws,
    probes: IntArray,
    reports: Reports,
    choice: Choice,
) -> None:
    for b in range(states.batch):
        row = np.array([b])
        one = states.take(row)
        single = Draws(draws.seed, draws.episode[row], draws.slot[row], draws.source[row])
        asked = scheduler.probes(one, single)
        _require(
            _same(asked, probes[row]),
            f"{where}: decision {b} probes {asked.tolist()} when computed alone, "
            f"and {probes[row].tolist()} in a batch of {states.batch}",
        )
        alone = scheduler.choose(one, reports.take(row), single)
        _require(
            alone.destination[0] == choice.destination[b],
            f"{where}: decision {b} chooses node {alone.destination[0]} when computed alone, "
            f"and node {choice.destination[b]} in a batch of {states.batch}",
        )
        for name in ("scores", "log_probability"):
            _require(
                np.allclose(
                    getattr(alone, name)[0],
                    getattr(choice, name)[b],
                    rtol=_TOLERANCE,
                    atol=_TOLERANCE,
                    equal_nan=True,
                ),
                f"{where}: {name} of decision {b} differs when computed alone and in a batch of {states.batch}",
            )


def _garbled(reports: Reports) -> Reports:
    """The same answers. Columns of unanswered probes get values that would make a node the best choice."""
    tempting = {
        "answered_after_s": 0.0,
        "capacity_hz": 1e15,
        "failure_rate": 0.0,
        "execution_queue_length": 0,
        "execution_backlog_s": -1.0,
        "receiving_work_s": 0.0,
        "pending_cycles": 0.0,
        "asked_work_s": 0.0,
        "asked_count": 0,
    }
    changed = {name: np.where(reports.answered, getattr(reports, name), value) for name, value in tempting.items()}
    return dataclasses.replace(reports, **changed)


def _same(one: Any, other: Any) -> bool:
    """Whether two dataclasses, tuples or arrays have the same values. NaN equals NaN."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if dataclasses.is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    a, b = np.asarray(one), np.asarray(other)
    if a.shape != b.shape:
        return False
    return np.array_equal(a, b, equal_nan=bool(np.issubdtype(a.dtype, np.floating)))


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _settings(nodes: int) -> Settings:
    return resolve_settings([{"network": {"nodes": nodes}}])


@dataclass(frozen=True, eq=False)
class _LinearActor:
    """An actor whose logits are a linear map (O, N+1) of the observation: it prefers some nodes to others."""

    weights: NDArray[np.float64]

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        # Not `@`: its rounding depends on the number of rows, which must not change a decision.
        summed: NDArray[np.float64] = (observations[:, :, None] * self.weights).sum(axis=1)
        return summed.astype(np.float32)
