"""Tests the conformance kit with schedulers that have one mistake each: it finds the mistake and says what it is."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from offload import Choice, SchedulerContext
from offload.conformance import (
    check_scheduler,
    draws_for,
    example_context,
    example_network,
    random_states,
    reports_for,
)


@dataclass(frozen=True)
class Good:
    """Chooses the less busy one of itself and a random other node. The faulty schedulers below derive from it."""

    context: SchedulerContext
    margin_s: float = 0.0

    enough_reports: ClassVar[Any] = None

    def probes(self, states, draws):
        if states.nodes == 1:
            return np.zeros((states.batch, 0), dtype=np.int64)
        rank = np.floor(draws.uniform(0) * (states.nodes - 1)).astype(np.int64)
        return (rank + (rank >= states.node))[:, None]

    def choose(self, states, reports, draws):
        if reports.node.shape[1] == 0:
            return Choice.of(states.node, states.nodes)
        goes = reports.answered[:, 0] & (reports.execution_backlog_s[:, 0] < states.execution_backlog_s)
        return Choice.of(np.where(goes, reports.node[:, 0], states.node), states.nodes)


def test_a_good_scheduler_passes():
    check_scheduler(Good)


class WrongProbesShape(Good):
    """(B,) instead of (B, d)."""

    def probes(self, states, draws):
        return super().probes(states, draws)[:, :1].ravel()


class FewProbes(Good):
    """A row for the first decision only."""

    def probes(self, states, draws):
        return super().probes(states, draws)[:1]


class FractionalProbes(Good):
    """Floating-point node numbers."""

    def probes(self, states, draws):
        return super().probes(states, draws).astype(float)


class ProbesBeyond(Good):
    """Off by one."""

    def probes(self, states, draws):
        return np.full((states.batch, 1), states.nodes)


class ProbesTwice(Good):
    """The same node in both columns."""

    def probes(self, states, draws):
        return np.repeat(super().probes(states, draws), 2, axis=1)


class GlobalRandomness(Good):
    """A replay would ask other nodes."""

    def probes(self, states, draws):
        return np.random.randint(0, states.nodes, (states.batch, 1))


class BatchWide(Good):
    """One number for all decisions of a batch."""

    def probes(self, states, draws):
        return np.full((states.batch, 1), int(draws.uniform(0).sum() * 100) % states.nodes)


class NoTask(Good):
    """Chooses N, "no task"."""

    def choose(self, states, reports, draws):
        return Choice.of(np.full(states.batch, states.nodes), states.nodes)


class FractionalDestination(Good):
    """Floating-point destinations."""

    def choose(self, states, reports, draws):
        return dataclasses.replace(super().choose(states, reports, draws), destination=states.node.astype(float))


class FewScores(Good):
    """Scores of the probed nodes instead of all."""

    def choose(self, states, reports, draws):
        return dataclasses.replace(super().choose(states, reports, draws), scores=np.zeros((states.batch, 0)))


class ProbabilityNotItsLogarithm(Good):
    """0.5 is not the logarithm of a probability."""

    def choose(self, states, reports, draws):
        return dataclasses.replace(super().choose(states, reports, draws), log_probability=np.full(states.batch, 0.5))


class InfiniteScores(Good):
    """Infinite for nodes that it does not want: a database rejects it as float32."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        return dataclasses.replace(made, scores=np.where(np.isnan(made.scores), np.inf, made.scores))


class EndlessScores(InfiniteScores):
    """Finite as float64, infinite as float32."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        return dataclasses.replace(made, scores=np.where(np.isinf(made.scores), 1e300, made.scores))


class ImpossibleChoice(Good):
    """The logarithm of a probability of 0."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        return dataclasses.replace(made, log_probability=np.full(states.batch, -np.inf))


class BarePair(Good):
    """Returns no Choice."""

    def choose(self, states, reports, draws):
        return states.node, None


class IgnoresSilence(Good):
    """Sends to the node that it asked, also without an answer."""

    def choose(self, states, reports, draws):
        if reports.node.shape[1] == 0:
            return Choice.of(states.node, states.nodes)
        return Choice.of(reports.node[:, 0], states.nodes)


class GoesAwayUnheard(Good):
    """Without an answer, sends to a node that it did not ask."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        if reports.node.shape[1] == 0 or states.nodes < 3:
            return made
        other = (states.node + 1) % states.nodes
        other = np.where(other == reports.node[:, 0], (other + 1) % states.nodes, other)
        other = np.where(other == states.node, (other + 1) % states.nodes, other)
        return Choice.of(np.where(reports.answered[:, 0], made.destination, other), states.nodes)


class ReadsSilence(Good):
    """Uses the columns of unanswered probes in its scores."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        scores = np.repeat(reports.execution_backlog_s.sum(axis=1, keepdims=True), states.nodes, axis=1)
        return dataclasses.replace(made, scores=scores)


class ChangesReports(Good):
    """Changes the reports."""

    def choose(self, states, reports, draws):
        reports.execution_backlog_s[...] = 0.0
        return super().choose(states, reports, draws)


class ChangesStates(Good):
    """Changes the states."""

    def choose(self, states, reports, draws):
        states.sending_backlog_s[...] = 7.0
        return super().choose(states, reports, draws)


class AverageOfTheBatch(Good):
    """Compares with the other decisions of the batch, which do not exist in a node."""

    def choose(self, states, reports, draws):
        made = super().choose(states, reports, draws)
        stays = states.execution_backlog_s <= states.execution_backlog_s.mean()
        return Choice.of(np.where(stays, states.node, made.destination), states.nodes)


_calls: list[int] = []


class CountsCalls(Good):
    """Keeps state outside of itself."""

    def choose(self, states, reports, draws):
        _calls.append(1)
        made = super().choose(states, reports, draws)
        return dataclasses.replace(made, scores=np.full(made.scores.shape, float(len(_calls))))


class NeverEnough(Good):
    """Would wait for no answers."""

    enough_reports = 0


@dataclass
class Melted:
    """Not frozen."""

    context: SchedulerContext
    enough_reports: ClassVar[int | None] = None
    probes = Good.probes
    choose = Good.choose


@dataclass(frozen=True)
class NeedsParameter:
    """Its parameter has no default."""

    context: SchedulerContext
    d: int
    enough_reports: ClassVar[int | None] = None
    probes = Good.probes
    choose = Good.choose


@dataclass(frozen=True)
class Half:
    """Has no choose()."""

    context: SchedulerContext
    probes = Good.probes


@pytest.mark.parametrize(
    ("factory", "part"),
    [
        (WrongProbesShape, "no array of shape (B, d)"),
        (FewProbes, "gave 1 rows for 48 decisions"),
        (FractionalProbes, "float64, not whole numbers"),
        (ProbesBeyond, "nodes are 0 …"),
        (ProbesTwice, "asks a node twice"),
        (GlobalRandomness, "all randomness must come from draws"),
        (BatchWide, "when computed alone, and"),
        (NoTask, "must be a node, 0 …"),
        (FractionalDestination, "destination is float64"),
        (FewScores, "scores is float64 of shape (48, 0)"),
        (ProbabilityNotItsLogarithm, "log_probability"),
        (InfiniteScores, "scores inf must be a finite number, or NaN"),
        (EndlessScores, "scores 1e+300 must be a finite number, or NaN"),
        (ImpossibleChoice, "log_probability -inf must be a finite number, or NaN"),
        (BarePair, "tuple, not a Choice"),
        (IgnoresSilence, "probed and did not answer"),
        (GoesAwayUnheard, "no other node has answered"),
        (ReadsSilence, "columns of unanswered probes"),
        (ChangesReports, "changed the reports"),
        (ChangesStates, "were changed"),
        (AverageOfTheBatch, "when computed alone, and node"),
        (CountsCalls, "no state may be kept"),
        (NeverEnough, "enough_reports is 0"),
        (Melted, "not a frozen dataclass"),
        (lambda context: NeedsParameter(context, 2), "has a parameter 'd' without a default"),
        (Half, "has no 'choose'"),
    ],
)
def test_a_mistake_is_found_and_named(factory, part):
    with pytest.raises(AssertionError) as found:
        check_scheduler(factory)
    assert part in str(found.value)
    assert "in a network of" in str(found.value)


@pytest.mark.parametrize("nodes", [1, 2, 10, 100])
def test_the_generated_states_are_what_a_node_could_see(nodes):
    states = random_states(np.random.default_rng(0), nodes, 200)
    network, rows = example_network(nodes), np.arange(200)
    np.testing.assert_array_equal(states.capacity_hz, network.capacity_hz[states.node])
    np.testing.assert_array_equal(states.peer_capacity_hz[rows, states.node], states.capacity_hz)
    assert np.isinf(states.rate_bps[rows, states.node]).all()
    for name in ("link_failure_rate", "sending_queue_length", "sending_backlog_s", "receiving_queue_length"):
        assert not getattr(states, name)[rows, states.node].any(), name
    assert states.has_task.all()
    assert (states.execution_backlog_s == 0).any()
    assert (states.execution_backlog_s > states.deadline_s).any()
    assert states.overloaded.any()
    assert not states.overloaded.all()


def test_a_node_that_asks_itself_always_gets_its_own_answer():
    states = random_states(np.random.default_rng(0), 5, 100)
    probes = np.stack([states.node, np.full(100, -1)], axis=1)
    reports = reports_for(np.random.default_rng(1), states, probes, 0.0)
    assert reports.answered.tolist() == [[True, False]] * 100
    np.testing.assert_array_equal(reports.execution_backlog_s[:, 0], states.execution_backlog_s)
    np.testing.assert_array_equal(reports.capacity_hz[:, 0], states.capacity_hz)


def test_an_example_context_decides_alike_at_every_call():
    states = random_states(np.random.default_rng(0), 4, 10)
    observed = [context.profile.encode(states) for context in (example_context(4), example_context(4))]
    logits = [example_context(4).actor.logits(one) for one in observed]
    np.testing.assert_array_equal(*logits)
    assert draws_for(states, 1).uniform(0).shape == (10,)
