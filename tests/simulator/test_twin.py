"""Tests the twin as a whole: the same results in any batch and step by step, and errors for wrong use."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.draws import Purpose, uniform
from offload.masks import action_mask
from offload.presets import PRESETS
from simulator import draws
from simulator.observations import Observer
from simulator.twin import Twin

SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 7}, "time": {"slots": 30}}])
NETWORKS = [draw_network(SETTINGS.network, SETTINGS.seed, index) for index in range(3)]


def traces(count, first=0):
    time = SETTINGS.time
    return [
        draw_trace(SETTINGS.tasks, NETWORKS[k % 3], time.slot_s, time.slots, SETTINGS.seed, k)
        for k in range(first, first + count)
    ]


def scheduler(name, network=NETWORKS[0]):
    return create_scheduler(name, {}, SchedulerContext(network.nodes, make_profile(SETTINGS)))


def test_compiled_draws_are_those_of_the_nodes() -> None:
    rng = np.random.default_rng(1)
    places = rng.integers(0, [2**32, 2**32, 2**16, 2**16, 2**32], (200, 5))
    for purpose in Purpose:
        for seed in (0, 1, 2**32 - 1):
            for place in places[:20]:
                assert draws.uniform(seed, int(purpose), *place) == uniform(
                    seed, purpose, *(int(part) for part in place)
                )


@pytest.mark.parametrize("name", ["random", "rda", "ratc", "sed"])
def test_an_episode_is_the_same_bit_for_bit_whatever_is_played_beside_it(name: str) -> None:
    together = Twin(NETWORKS, traces(9), SETTINGS, [k % 3 for k in range(9)]).play(scheduler(name))
    for k, trace in enumerate(traces(9)):
        alone = Twin([NETWORKS[k % 3]], [trace], SETTINGS).play(scheduler(name))
        for field in fields(alone):
            np.testing.assert_array_equal(
                getattr(together, field.name)[k], getattr(alone, field.name)[0], err_msg=field.name
            )


def test_another_seed_or_trace_number_fails_other_tasks() -> None:
    one = Twin([NETWORKS[0]], traces(1), SETTINGS).play(scheduler("local"))
    other = Twin([NETWORKS[0]], traces(1), SETTINGS.model_copy(update={"seed": 2})).play(scheduler("local"))
    assert (one.outcome != other.outcome).any()
    np.testing.assert_array_equal(one.outcome > 0, other.outcome > 0)


def test_broadcast_reports_the_first_answers_in_changing_order() -> None:
    twin = Twin([NETWORKS[0]], traces(1), SETTINGS)
    asker = np.zeros(1, int)
    others = np.arange(1, 7)[None]
    heard = set()
    for _ in range(SETTINGS.time.slots):
        reports = twin.reports(asker, asker, others, enough=2)
        assert reports.answered.sum() == 2
        first = np.argsort(reports.answered_after_s[0])[:2]
        assert reports.answered[0, first].all()
        heard |= set(reports.node[0, first].tolist())
        assert twin.reports(asker, asker, others).answered.all()
        own = twin.reports(asker, asker, np.array([[3, 0, -1, 5]]), enough=1)
        assert own.answered[0].tolist()[1:3] == [True, False]
        assert own.answered_after_s[0, 1] == 0
        assert own.answered.sum() == 2
        twin.decide(np.zeros((1, 7), int))
    assert heard == set(range(1, 7))


@pytest.mark.parametrize("profile", ["paper", "default"])
def test_observations_and_masks_are_those_of_the_profile(profile: str) -> None:
    settings = resolve_settings([SETTINGS.model_dump(mode="json"), {"node": {"profile": profile}}])
    made = make_profile(settings)
    twin = Twin(NETWORKS, traces(6), settings, [k % 3 for k in range(6)])
    observer = Observer(twin, made)
    episode, node = (index.ravel() for index in np.indices((6, 7)))
    sent = scheduler("random")
    for slot in range(settings.time.slots + 1):
        observations, masks = observer.observe()
        states = twin.states(episode, node)
        np.testing.assert_array_equal(observations.reshape(42, -1), made.encode(states), err_msg=f"tick {slot}")
        np.testing.assert_array_equal(masks.reshape(42, -1), action_mask(states), err_msg=f"tick {slot}")
        if slot < settings.time.slots:
            destinations = np.full((6, 7), -1)
            decided = twin.decisions(sent)
            destinations[decided.episode, decided.node] = decided.choice.destination
            twin.decide(destinations)
    assert (states.sending_queue_length > 0).any()
    assert states.overloaded.any()


def test_wrong_use_is_refused() -> None:
    other = draw_network(SETTINGS.network.model_copy(update={"nodes": 5}), 1)
    with pytest.raises(ValueError, match="5 nodes, the traces have 7"):
        Twin([other], traces(1), SETTINGS)
    short = draw_trace(SETTINGS.tasks, NETWORKS[0], SETTINGS.time.slot_s, 5, 1, 0)
    with pytest.raises(ValueError, match="same number of slots"):
        Twin(NETWORKS, [*traces(1), short], SETTINGS)
    with pytest.raises(ValueError, match="one index of the 3 networks"):
        Twin(NETWORKS, traces(2), SETTINGS, [0, 3])
    twin = Twin(NETWORKS, traces(2), SETTINGS)
    with pytest.raises(ValueError, match="shape"):
        twin.decide(np.zeros((2, 6), int))
    with pytest.raises(ValueError, match="goes to node 7"):
        twin.decide(np.full((2, 7), 7))
    with pytest.raises(ValueError, match="goes to node -1"):
        twin.play_given(np.full((2, 30, 7), -1))
    twin.play(scheduler("local"))
    with pytest.raises(ValueError, match="all 30 slots are decided"):
        twin.decide(np.zeros((2, 7), int))
    with pytest.raises(ValueError, match="30 slots are decided already"):
        twin.play_given(np.zeros((2, 30, 7), int))
