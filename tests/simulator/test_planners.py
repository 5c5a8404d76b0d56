"""Tests the reference planners: central uses only what can be known; no scheduler exceeds the ceiling on average."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import network, trace, worlds

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, make_profile, resolve_settings
from offload.draws import Purpose, uniform
from offload.outcomes import TIME_TOLERANCE_S
from offload.tasks import Trace
from simulator import arrays, planners
from simulator.planners import ceiling, central_choices, play_central
from simulator.twin import Twin


def made(net, timing="end", seed=1):
    return resolve_settings([{"seed": seed, "network": {"nodes": net.nodes}, "time": {"failure_timing": timing}}])


def after(net, tasks, decided, *, failures=False, timing="end", seed=1):
    """The planner's choices for the last slot that has tasks. In earlier slots, tasks go where `decided` says."""
    twin = Twin([net], [trace(tasks, net.nodes)], made(net, timing, seed), failures=failures)
    for destinations in decided:
        twin.decide(np.array([destinations]))
    return central_choices(twin)[0].tolist()


def failing_seed(purpose, low_s, high_s, rate=1.0):
    """A seed with which task (0, 0) to node 1 fails between these instants of its stage."""
    return next(seed for seed in range(10_000) if low_s < -math.log(uniform(seed, purpose, 0, 0, 0, 1)) / rate < high_s)


# --- central: in these networks a megabit takes a second on a link, and a gigacycle a second at 1 GHz -----------------


def test_central_goes_to_the_earliest_finish() -> None:
    net = network([1e9, 4e9, 2e9])
    # Here 1.0; at node 1 0.1 + 0.25, at node 2 0.1 + 0.5.
    assert after(net, [(0, 0, 1e5, 1e9, 9)], []) == [1, -1, -1]
    # With 0.8 s on the link it stays; nothing is transmitted to itself.
    assert after(net, [(0, 0, 8e5, 1e9, 9)], []) == [0, -1, -1]
    # Equal everywhere: the lower index. It does not matter that no node meets the deadline.
    assert after(network([1e9, 2e9, 2e9]), [(0, 0, 1e5, 1e9, 9)], []) == [1, -1, -1]
    assert after(net, [(0, 0, 1e5, 1e9, 0.05)], []) == [1, -1, -1]


def test_central_counts_its_own_decisions_of_the_same_slot() -> None:
    net = network([1e9, 1e9, 1e9, 4e9])
    tasks = [(0, node, 1e5, 1e9, 9) for node in range(4)]
    # 0, 1 and 2 finish at node 3 at 0.35, 0.6 and 0.85. Its own task, decided last, would finish at 1.1, as at node 0.
    assert after(net, tasks, []) == [3, 3, 3, 0]
    # 1.1 at node 3. The second would finish there at 2.1 and be dropped, so the third can finish at 2.1, here at 2.5.
    net = network([1e9, 1e9, 1.6e9, 4e9])
    assert after(net, [(0, 0, 1e5, 4e9, 9), (0, 1, 1e5, 4e9, 1.5), (0, 2, 1e5, 4e9, 9)], []) == [3, 3, 3, -1]
    # The first has ended at 0.6 at node 2, where the second would end at 1.1, here at 1.0.
    net = network([1e9, 1e9, 2e9])
    assert after(net, [(0, 0, 1e5, 1e9, 9), (0, 1, 1e5, 1e9, 9)], []) == [2, 1, -1]


def test_central_counts_what_runs_and_what_is_on_its_way() -> None:
    net = network([1e9, 2e9, 1e9])
    second = (1, 2, 1e5, 1e9, 9)
    assert after(net, [second], [[-1, -1, -1]]) == [-1, -1, 1]
    # Node 1 runs until 1.0: the second would finish there at 1.5, here at 1.1.
    assert after(net, [(0, 1, 1e5, 2e9, 9), second], [[-1, 1, -1]]) == [-1, -1, 2]
    # It arrives at 0.15, before the second (0.2), which it delays until 1.15.
    assert after(net, [(0, 0, 1.5e5, 2e9, 9), second], [[1, -1, -1]]) == [-1, -1, 2]
    # It arrives at 0.25, after the second, but was sent before: it counts. A task that will be dropped does not.
    assert after(net, [(0, 0, 2.5e5, 2e9, 9), second], [[1, -1, -1]]) == [-1, -1, 2]
    assert after(net, [(0, 0, 1.5e5, 2e9, 1.0), second], [[1, -1, -1]]) == [-1, -1, 1]
    queued = [(0, 0, 1.5e5, 1e3, 9), (1, 0, 1e5, 2e9, 0.14), (2, 2, 2e5, 1e9, 9)]
    assert after(net, queued, [[1, -1, -1], [1, -1, -1]]) == [-1, -1, 1]


def test_central_waits_for_the_link() -> None:
    # Node 0's link to node 1 is occupied until 0.8: 0.9 + 0.5 there, 0.1 + 1.0 here.
    assert after(network([1e9, 2e9]), [(0, 0, 8e5, 1e3, 9), (1, 0, 1e5, 1e9, 9)], [[1, -1]]) == [0, -1]


@pytest.mark.parametrize("timing", ["end", "event"])
def test_central_does_not_know_that_a_transmission_under_way_will_fail(timing: str) -> None:
    net = network([1e9, 2e9, 1e9], link_failure_rate=[[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    seed = failing_seed(Purpose.TRANSMISSION_FAILURE, 0.11, 0.14)
    tasks, decided = [(0, 0, 1.5e5, 2e9, 9), (1, 2, 1e5, 1e9, 9)], [[1, -1, -1]]
    twin = Twin([net], [trace(tasks, 3)], made(net, timing, seed)).play_given(np.array([[[1, -1, -1], [-1, -1, 1]]]))
    assert twin.outcome[0, 0, 0] == arrays.TRANSMISSION_FAILURE
    assert after(net, tasks, decided, failures=True, timing=timing, seed=seed) == [-1, -1, 2]
    assert after(net, tasks, decided) == [-1, -1, 2]


@pytest.mark.parametrize("what", ["queued behind", "running"])
def test_central_does_not_know_failures_in_advance(what: str) -> None:
    if what == "queued behind":
        # As far as is known, the link is occupied until 0.8; it will be free much earlier.
        net = network([1e9, 2e9], link_failure_rate=[[0, 1], [0, 0]])
        seed = failing_seed(Purpose.TRANSMISSION_FAILURE, 0.11, 0.19)
        tasks, decided, expected = [(0, 0, 8e5, 1e3, 9), (1, 0, 1e5, 1e9, 9)], [[1, -1]], [0, -1]
    else:
        net = network([1e9, 2e9, 1e9], failure_rate=1.0)
        seed = failing_seed(Purpose.EXECUTION_FAILURE, 0.11, 0.19)
        tasks, decided, expected = [(0, 0, 1e4, 2e9, 9), (1, 2, 1e5, 1e9, 9)], [[1, -1, -1]], [-1, -1, 2]
    assert after(net, tasks, decided, failures=True, timing="event", seed=seed) == expected
    # A slot later the failure is known, and everything is free.
    later, decided = [tasks[0], (2, *tasks[1][1:])], [*decided, [-1] * net.nodes]
    assert 1 in after(net, later, decided, failures=True, timing="event", seed=seed)
    assert 1 not in after(net, later, decided)


def test_central_does_not_know_when_what_waits_behind_a_failure_will_start() -> None:
    net = network([4e8, 2e9, 5e8], link_failure_rate=[[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    seed = failing_seed(Purpose.TRANSMISSION_FAILURE, 0.21, 0.3)
    # The first occupies the link until 0.8. Then the second arrives at 0.9 and occupies node 1 until 1.9. The third
    # would end there at 2.4, and locally at 2.2. In fact the first fails, and the second ends 0.5 s earlier.
    tasks = [(0, 0, 8e5, 1e3, 9), (1, 0, 1e5, 2e9, 9), (2, 2, 4e5, 1e9, 9)]
    decided = [[1, -1, -1], [1, -1, -1]]
    assert after(net, tasks, decided, failures=True, timing="event", seed=seed) == [-1, -1, 2]
    assert after(net, tasks, decided) == [-1, -1, 2]


class Onlooker:
    """Computes what can be known at an instant from the decisions: failures count only after they occurred."""

    def __init__(self, net, trace, made, failures):
        self.net, self.trace, self.failures = net, trace, failures
        self.at_event, self.seed = made.time.failure_timing == "event", made.seed

    def held(self, purpose, rate, slot, source, j, start, duration, now):
        """(known duration of a stage, whether it is known to fail)."""
        if self.failures and rate > 0:
            failure = -math.log(uniform(self.seed, purpose, self.trace.episode, slot, source, j)) / rate
            takes = min(duration, failure) if self.at_event else duration
            if failure < duration and start + takes <= now + TIME_TOLERANCE_S:
                return takes, True
        return duration, False

    def finish(self, sent, lone, now):
        """The end of `lone`, the last of the (slot, source, destination) in `sent`, with misses included."""
        net, trace = self.net, self.trace
        free, coming = {}, {j: [] for j in range(net.nodes)}
        for slot, source, j in sent:
            arrival, begin = slot * trace.slot_s, slot * trace.slot_s
            due = begin + trace.deadline_s[slot, source]
            if j != source:
                duration = trace.size_bits[slot, source] / net.rate_bps[source, j]
                start = max(begin, free.get((source, j), 0.0))
                if start + duration > due + TIME_TOLERANCE_S and (slot, source, j) != lone:
                    continue
                takes, fails = self.held(
                    Purpose.TRANSMISSION_FAILURE,
                    net.link_failure_rate[source, j],
                    slot,
                    source,
                    j,
                    start,
                    duration,
                    now,
                )
                arrival = free[source, j] = start + takes
                if fails:
                    continue
            is_here = (slot, source, j) != lone and begin < now and arrival <= now + TIME_TOLERANCE_S
            # Tasks decided in this slot are queued behind all tasks sent before, in the order of the decisions.
            order = (1, len(coming[j])) if begin >= now else (0, not is_here, round(arrival * 1e9), source)
            coming[j].append((order, source, slot, arrival, due))
        j, free_s = lone[2], 0.0
        for _, source, slot, arrival, due in sorted(coming[j]):
            start, duration = max(arrival, free_s), trace.cycles[slot, source] / net.capacity_hz[j]
            if (slot, source, j) == lone:
                return max(start, now) + duration
            if start + duration <= due + TIME_TOLERANCE_S:
                free_s = start + self.held(
                    Purpose.EXECUTION_FAILURE, net.failure_rate[j], slot, source, j, start, duration, now
                )[0]  # fmt: skip
        raise AssertionError(lone)


@settings(max_examples=400, deadline=None)
@given(worlds(), st.booleans())
def test_central_decides_as_an_onlooker_works_out(world, follow: bool) -> None:
    net, trace, destinations, made, failures = world
    twin = Twin([net], [trace], made, failures=failures)
    onlooker = Onlooker(net, trace, made, failures)
    sent: list[tuple[int, int, int]] = []
    for slot in range(trace.slots):
        chosen = central_choices(twin)[0]
        np.testing.assert_array_equal(chosen >= 0, trace.has_task[slot])
        before, planned = len(sent), []
        for i in np.flatnonzero(trace.has_task[slot]).tolist():
            now = slot * trace.slot_s
            finishes = [
                round(onlooker.finish([*sent, *planned, (slot, i, j)], (slot, i, j), now) * 1e9)
                for j in range(net.nodes)
            ]
            assert finishes[chosen[i]] == min(finishes), (slot, i, finishes)
            assert chosen[i] == int(np.argmin(finishes))
            planned.append((slot, i, int(chosen[i])))
        # Follow the planner, or choose another node.
        went = chosen if follow else np.where(trace.has_task[slot], destinations[0, slot], -1)
        sent[before:] = [(slot, i, int(went[i])) for i in np.flatnonzero(trace.has_task[slot]).tolist()]
        twin.decide(went[None])


def test_a_batch_is_planned_as_its_episodes_alone() -> None:
    nets = [network([1e9, 2e9, 4e9]), network([3e9, 1e9, 1e9], rate_bps=5e6)]
    rng = np.random.default_rng(1)
    tasks = [
        [
            (slot, node, *rng.choice([1e5, 3e5], 1), *rng.choice([2e8, 1e9], 1), 1.0)
            for slot in range(9)
            for node in range(3)
        ]
        for _ in range(4)
    ]
    traces = [trace(each, 3, episode=k) for k, each in enumerate(tasks)]
    together = play_central(Twin(nets, traces, made(nets[0]), [0, 1, 1, 0]))
    for k, of in enumerate([0, 1, 1, 0]):
        alone = play_central(Twin([nets[of]], [traces[k]], made(nets[0])))
        np.testing.assert_array_equal(together.destination[k], alone.destination[0])
        np.testing.assert_array_equal(together.outcome[k], alone.outcome[0])


# --- ceiling ----------------------------------------------------------------------------------------------------------


def bound(net, tasks, timing="end", failures=True, slots=None):
    return ceiling(net, trace(tasks, net.nodes, slots), made(net, timing), failures=failures)


def test_what_an_overloaded_node_can_do_is_its_time_over_that_of_a_task() -> None:
    # Ten tasks of 0.5 s, from 0 to 0.9 + 1.0.
    tasks = [(slot, 0, 1e5, 5e8, 1.0) for slot in range(10)]
    assert bound(network([1e9]), tasks) == pytest.approx(1.9 / 0.5 / 10, abs=1e-8)
    # Three tasks of 0.9 s in slots 20 to 22: the episode is long enough, but the window of five slots has only 1.2 s.
    burst = [(slot, 0, 1e5, 9e8, 1.0) for slot in (20, 21, 22)]
    assert bound(network([1e9]), burst, slots=100) == pytest.approx(1.2 / 0.9 / 3, abs=1e-8)
    # The largest deadline counts; the window of the first two has 1.1 s, the one of all three 2.1 s.
    burst[2] = (22, 0, 1e5, 9e8, 1.9)
    assert bound(network([1e9]), burst, slots=100) == pytest.approx(2.1 / 0.9 / 3, abs=1e-8)
    # Slightly too much load all the time: only the whole episode, 9.9 + 1.0, shows it.
    assert bound(network([1e9]), [(slot, 0, 1e5, 1.1e8, 1.0) for slot in range(100)]) == pytest.approx(
        10.9 / 11, abs=1e-8
    )
    # The last window ends with the episode: slots 98 and 99 of 100, or 99 and 100 of 101.
    for slots in (100, 101, 103):
        end = [(slots - 2, 0, 1e5, 1e9, 1.0), (slots - 1, 0, 1e5, 1e9, 1.0)]
        assert bound(network([1e9]), end, slots=slots) == pytest.approx(1.1 / 2, abs=1e-8)


def test_failures_reduce_expected_success_and_executor_time() -> None:
    burst = [(slot, 0, 1e5, 9e8, 1.0) for slot in (20, 21, 22)]
    net = network([1e9], failure_rate=2.0)
    p = math.exp(-2.0 * 0.9)
    assert bound(net, burst, slots=100) == pytest.approx(1.2 / 0.9 * p / 3, abs=1e-8)
    assert bound(net, burst, "event", slots=100) == pytest.approx(1.2 / ((1 - p) / 2.0) * p / 3, abs=1e-8)
    assert bound(net, burst, failures=False, slots=100) == pytest.approx(1.2 / 0.9 / 3, abs=1e-8)
    # Node 0 is too slow, and a fifth of what it sends is lost: that does not occupy node 1's executor.
    net = network([1e6, 1e9], link_failure_rate=-math.log(0.8) / 0.1)
    assert bound(net, burst, slots=100) == pytest.approx(1.2 / 0.9 / 3, abs=1e-8)
    # Without the others, a task counts with its best node.
    assert bound(net, burst[:1], slots=100) == pytest.approx(0.8, abs=1e-9)
    net = network([1e9, 4e9], failure_rate=1.0, link_failure_rate=2.0)
    assert bound(net, [(0, 0, 1e5, 1e9, 5)]) == pytest.approx(math.exp(-0.1 * 2.0 - 0.25), abs=1e-9)
    assert bound(net, [(0, 0, 5e5, 1e9, 5)]) == pytest.approx(math.exp(-1.0), abs=1e-9)


def test_a_task_that_misses_its_deadline_everywhere_is_lost() -> None:
    net = network([1e9, 4e9])
    late, exact = (0, 0, 1e5, 1e9, 0.349), (1, 0, 1e5, 1e9, 0.35)
    assert bound(net, [late]) == 0.0
    assert bound(net, [exact]) == pytest.approx(1.0)
    assert bound(net, [late, exact]) == pytest.approx(0.5)
    nothing = Trace(0, 0.1, np.zeros((3, 2), bool), *np.zeros((3, 3, 2)))
    assert math.isnan(ceiling(net, nothing, made(net)))


def test_what_is_not_solved_is_not_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def solver(*arguments, options, **named):
        return given_up(*arguments, options={**options, "maxiter": 0}, **named)

    given_up = planners.linprog
    monkeypatch.setattr(planners, "linprog", solver)
    with pytest.raises(RuntimeError, match=r"linear program was not solved: .*limit"):
        bound(network([1e9]), [(slot, 0, 1e5, 5e8, 1.0) for slot in range(10)])


def safest(net, trace):
    """Every task at the node where it most likely succeeds alone: without contention, this is the bound."""
    off = 1.0 - np.eye(net.nodes)
    transmission = np.where(off > 0, trace.size_bits[..., None] / net.rate_bps, 0.0)
    execution = trace.cycles[..., None] / net.capacity_hz
    hazard = transmission * net.link_failure_rate + execution * net.failure_rate
    late = transmission + execution > trace.deadline_s[..., None] + TIME_TOLERANCE_S
    return np.where(late, np.inf, hazard).argmin(axis=2)


def success_rates_under_all(net, traces, destinations, made, failures):
    """{scheduler: (B,) success rates}."""

    def twin():
        return Twin([net], traces, made, failures=failures)

    context = SchedulerContext(net.nodes, make_profile(made))
    here = np.broadcast_to(np.arange(net.nodes), destinations.shape)
    rates = {
        name: twin().play_given(np.repeat(each, len(traces), axis=0))
        for name, each in {"given": destinations, "local": here, "safest": safest(net, traces[0])[None]}.items()
    }
    rates["sed"] = twin().play(create_scheduler("sed", {}, context))
    rates["central"] = play_central(twin())
    return {name: outcomes.success_rates() for name, outcomes in rates.items()}


@settings(max_examples=500, deadline=None)
@given(worlds())
def test_without_failures_nobody_exceeds_the_ceiling(world) -> None:
    net, trace, destinations, made, _ = world
    highest = ceiling(net, trace, made, failures=False)
    if not trace.has_task.any():
        assert math.isnan(highest)
        return
    for name, (rate,) in success_rates_under_all(net, [trace], destinations, made, False).items():
        assert rate <= highest + 1e-9, name


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_on_average_over_the_failures_nobody_exceeds_the_ceiling(world) -> None:
    net, trace, destinations, made, _ = world
    if not trace.has_task.any():
        return
    copies = 400
    traces = [replace(trace, episode=k) for k in range(copies)]
    highest = ceiling(net, trace, made)
    assert highest <= ceiling(net, trace, made, failures=False) + 1e-9
    for name, rates in success_rates_under_all(net, traces, destinations, made, True).items():
        error = max(rates.std(), math.sqrt(max(highest * (1 - highest), 0))) / math.sqrt(copies)
        assert rates.mean() <= highest + 4 * error + 1e-9, name
