"""Tests the PettingZoo view: PettingZoo's own tests, the twin's numbers, and defined results of wrong actions."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import parallel_to_aec

from offload import draw_network, draw_trace, make_profile, resolve_settings
from offload.presets import PRESETS
from simulator import arrays
from simulator.observations import Observer
from simulator.parallel_env import OffloadingParallelEnv, parallel_env
from simulator.twin import Twin

NODES, SLOTS = 5, 25
SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": NODES}, "time": {"slots": SLOTS}}])
NETWORK = draw_network(SETTINGS.network, SETTINGS.seed, SETTINGS.network.index)


def trace(seed: int, number: int, settings=SETTINGS, network=NETWORK):
    return draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, seed, number)


def twin_of(seed: int, number: int) -> Twin:
    return Twin([NETWORK], [trace(seed, number)], SETTINGS.model_copy(update={"seed": seed}))


def tasks_of(environment, observed):
    """(N,) the sizes as observed; they differ between the traces."""
    place = make_profile(SETTINGS).elements().index("size")
    return [float(observed[agent]["observation"][place]) for agent in environment.possible_agents]


def first_sizes(seed: int, number: int):
    scale = make_profile(SETTINGS).scales[make_profile(SETTINGS).elements().index("size")]
    return (trace(seed, number).size_bits[0].astype(np.float32) * scale).tolist()


def own_node(environment, observed):
    """Each task stays where it is."""
    return {
        agent: NODES if observed[agent]["action_mask"][NODES] else i
        for i, agent in enumerate(environment.possible_agents)
    }


@pytest.mark.parametrize("make", [lambda: OffloadingParallelEnv(SETTINGS), lambda: parallel_env(settings="demo")])
def test_pettingzoos_own_tests_pass_without_a_warning(make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(make(), num_cycles=100)
        parallel_seed_test(make, num_cycles=40)
        state_test(parallel_to_aec(make()), make(), num_cycles=40)


def test_infos_have_one_shape_from_the_reset_to_the_end() -> None:
    """Libraries allocate memory for the keys of the first infos, and take a mask from one place only."""
    environment = OffloadingParallelEnv(SETTINGS)
    _, infos = environment.reset(seed=1)
    while True:
        for info in infos.values():
            assert {key: type(value) for key, value in info.items()} == {"illegal": bool, "success_rate": float}
        if not environment.agents:
            break
        *_, infos = environment.step(dict.fromkeys(environment.agents, 0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, {"return_state": True}, {"categorical_actions": False}, {"use_mask": True}])
def test_torchrl_plays_it(options) -> None:
    torchrl = pytest.importorskip("torchrl.envs.libs.pettingzoo", reason="TorchRL is not installed")
    from torchrl.envs.utils import check_env_specs

    wrapped = torchrl.PettingZooWrapper(OffloadingParallelEnv("demo"), **{"categorical_actions": True, **options})
    played = wrapped.rollout(60)
    assert played.batch_size[0] == 30, "the episode's slots"
    infos = played["next", "node", "info"]
    assert not infos["illegal"].any(), "its actions obey the masks"
    assert (infos["success_rate"][-1] > 0).all()
    check_env_specs(wrapped)


def test_an_episode_is_the_twins() -> None:
    environment, twin = OffloadingParallelEnv(SETTINGS), twin_of(9, 4)
    observed, infos = environment.reset(seed=9, options={"trace": 4})
    observer, rng = Observer(twin, make_profile(SETTINGS)), np.random.default_rng(0)
    rewards = []
    for slot in range(SLOTS + 1):
        seen, masks = observer.observe()
        for i, agent in enumerate(environment.possible_agents):
            np.testing.assert_array_equal(observed[agent]["observation"], seen[0, i])
            np.testing.assert_array_equal(observed[agent]["action_mask"], masks[0, i])
            assert environment.observation_space(agent).contains(observed[agent])
        np.testing.assert_array_equal(environment.state(), seen[0].ravel())
        assert environment.state_space.contains(environment.state())
        if slot == SLOTS:
            break
        assert environment.agents == environment.possible_agents
        actions = (rng.random(masks[0].shape) * masks[0]).argmax(axis=1)
        observed, reward, terminated, truncated, infos = environment.step(
            dict(zip(environment.agents, actions, strict=True))
        )
        twin.decide(np.where(actions == NODES, 0, actions)[None])
        assert len(set(reward.values())) == 1
        rewards.append(reward["node_0"])
        assert not any(terminated.values())
        assert set(truncated.values()) == {slot == SLOTS - 1}
        assert not any(one["illegal"] for one in infos.values())
        assert (infos["node_0"]["success_rate"] > 0) == (slot == SLOTS - 1)
    assert rewards == twin.team_reward[0].tolist()
    successes = int((twin.task_outcomes().outcome == arrays.SUCCESS).sum())
    tasks = int(trace(9, 4).has_task.sum())
    assert sum(rewards) == successes - (tasks - successes)
    assert [info["success_rate"] for info in infos.values()] == [successes / tasks] * NODES
    assert 0 < successes < tasks
    assert environment.agents == []
    with pytest.raises(ValueError, match="no episode is running"):
        environment.step(dict.fromkeys(environment.possible_agents, 0))


def test_resets_play_the_traces_of_a_seed_in_turn() -> None:
    environment = OffloadingParallelEnv(SETTINGS)

    def begun(**how):
        return tasks_of(environment, environment.reset(**how)[0])

    own = SETTINGS.seed
    assert [begun(), begun()] == [first_sizes(own, 0), first_sizes(own, 1)], "the settings' own seed, from trace 0"
    assert [begun(seed=3), begun(), begun()] == [first_sizes(3, 0), first_sizes(3, 1), first_sizes(3, 2)]
    assert [begun(seed=3), begun(options={"trace": 7}), begun()] == [first_sizes(3, number) for number in (0, 7, 8)]
    assert begun(seed=np.int64(4), options={"something": "else"}) == first_sizes(4, 0)
    assert first_sizes(3, 0) != first_sizes(3, 1) != first_sizes(4, 0)


def test_a_seed_draws_other_failures_as_well_and_leaves_the_network() -> None:
    busy = SETTINGS.network.model_copy(update={"arrival_probability": (1.0, 1.0), "failure_rate": (0.4, 0.4)})
    settings = SETTINGS.model_copy(update={"network": busy})
    environment, place = OffloadingParallelEnv(settings), make_profile(settings).elements().index("capacity")
    seen = []
    for seed in (1, 2, 1):
        observed, _ = environment.reset(seed=seed)
        capacity, rewards = [observed[agent]["observation"][place] for agent in observed], []
        while environment.agents:
            observed, reward, _, _, _ = environment.step(own_node(environment, observed))
            rewards.append(reward["node_0"])
        seen.append((capacity, rewards))
    assert seen[0] == seen[2]
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]


def test_a_network_may_be_given() -> None:
    other = draw_network(SETTINGS.network, 77)
    environment = OffloadingParallelEnv(SETTINGS, network=other)
    profile = make_profile(SETTINGS)
    place = profile.elements().index("capacity")
    observed, _ = environment.reset()
    seen = [observed[agent]["observation"][place] for agent in environment.agents]
    np.testing.assert_array_equal(seen, other.capacity_hz.astype(np.float32) * profile.scales[place])
    assert not np.array_equal(other.capacity_hz, NETWORK.capacity_hz)


def test_what_was_handed_out_is_not_overwritten() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    kept = []
    observed, _ = environment.reset(seed=1)
    while environment.agents:
        kept += [(array, array.copy()) for one in observed.values() for array in one.values()]
        kept.append((environment.state(), environment.state()))
        observed, *_ = environment.step(dict.fromkeys(environment.agents, 0))
    environment.reset()
    for array, was in kept:
        np.testing.assert_array_equal(array, was)


def test_no_task_keeps_a_task_and_a_node_for_no_task_is_ignored() -> None:
    wrong, right = OffloadingParallelEnv(SETTINGS), OffloadingParallelEnv(SETTINGS)
    wrong.reset(seed=1)
    observed, _ = right.reset(seed=1)
    illegal = 0
    while right.agents:
        idle = {agent: bool(observed[agent]["action_mask"][NODES]) for agent in right.agents}
        mistaken = wrong.step({agent: 2 if idle[agent] else NODES for agent in wrong.agents})
        observed, reward, _, _, infos = right.step(own_node(right, observed))
        assert mistaken[1] == reward
        for agent in idle:
            np.testing.assert_array_equal(mistaken[0][agent]["observation"], observed[agent]["observation"])
        illegal += sum(one["illegal"] for one in mistaken[4].values())
        assert not any(one["illegal"] for one in infos.values())
    assert illegal == SLOTS * NODES


def test_a_task_for_an_overloaded_node_is_sent_there() -> None:
    settings = resolve_settings([SETTINGS.model_dump(mode="json"), {"network": {"arrival_probability": [1.0, 1.0]}}])
    network = draw_network(settings.network, settings.seed)
    made = trace(settings.seed, 0, settings, network)
    environment, twin = OffloadingParallelEnv(settings), Twin([network], [made], settings)
    observed, _ = environment.reset()
    forbidden = 0
    while environment.agents:
        # All tasks go to node 0, which soon sets its overload bit.
        expected = {agent: not observed[agent]["action_mask"][0] for agent in environment.agents}
        observed, reward, _, _, infos = environment.step(dict.fromkeys(environment.agents, 0))
        twin.decide(np.zeros((1, NODES), int))
        assert {agent: info["illegal"] for agent, info in infos.items()} == expected
        assert reward["node_3"] == twin.team_reward[0, twin.slot - 1]
        forbidden += sum(expected.values())
    assert forbidden > SLOTS
    assert not infos["node_0"]["illegal"], "its own node is always legal"


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ({}, "node_0 has no action"),
        ({"node_3": None}, "node_3: action None"),
        ({"node_1": NODES + 1}, "node_1: action 6 is not an integer in 0 … 5"),
        ({"node_4": -1}, "node_4: action -1"),
        ({"node_2": 1.5}, "node_2: action 1.5"),
        ({"node_2": "1"}, "node_2: action '1'"),
        ({"node_2": np.array([1])}, r"node_2: action array\(\[1\]\)"),
        ({"node_2": 2**70}, "node_2: action 1180591620717411303424"),
    ],
)
def test_step_rejects_an_invalid_action_and_names_the_agent(actions, complaint) -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    observed, _ = environment.reset(seed=1)
    right = own_node(environment, observed)
    with pytest.raises(ValueError, match=complaint):
        environment.step(actions and right | actions)
    steps = 0
    while environment.agents:
        observed, *_ = environment.step(own_node(environment, observed))
        steps += 1
    assert steps == SLOTS


def test_an_action_that_is_missing_is_named() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    environment.reset(seed=1)
    with pytest.raises(ValueError, match=r"node_3 has no action; every agent needs one \(5 if it has no task\)"):
        environment.step({agent: 0 for agent in environment.agents if agent != "node_3"})


def test_numpys_integers_are_actions() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    environment.reset(seed=1)
    environment.step({agent: np.uint8(2) for agent in environment.agents})
    environment.step({agent: np.array(2) for agent in environment.agents})


def test_wrong_makings_and_resets_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown preset 'papers', did you mean paper"):
        OffloadingParallelEnv("papers")
    with pytest.raises(ValueError, match="the network has 5 nodes, the settings say 20"):
        OffloadingParallelEnv("paper-simulation", network=NETWORK)
    environment = OffloadingParallelEnv(SETTINGS)
    with pytest.raises(ValueError, match="no episode is running"):
        environment.step(dict.fromkeys(environment.possible_agents, 0))
    with pytest.raises(ValueError, match="seed -1 is not in 0"):
        environment.reset(seed=-1)
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match=f"trace {number} is not in 0 … 4294967295"):
            environment.reset(options={"trace": number})


def test_an_episode_without_tasks_is_played() -> None:
    idle = resolve_settings([SETTINGS.model_dump(mode="json"), {"network": {"arrival_probability": [0.0, 0.0]}}])
    environment = OffloadingParallelEnv(idle)
    environment.reset()
    while environment.agents:
        _, reward, _, _, infos = environment.step(dict.fromkeys(environment.agents, NODES))
        assert reward["node_0"] == 0
    assert math.isnan(infos["node_0"]["success_rate"])


def test_pettingzoo_makes_it_by_its_id() -> None:
    made = pettingzoo.make("parallel", "offload_testbed/offloading-v0", settings=SETTINGS)
    assert isinstance(made.unwrapped, OffloadingParallelEnv)
    assert set(made.reset(seed=1)[0]) == {f"node_{i}" for i in range(NODES)}


def test_parallel_env_is_fast_enough_for_learning() -> None:
    """At least 1,250 steps per second at ten nodes, also on a busy machine."""
    environment = OffloadingParallelEnv("paper-testbed")
    environment.reset()
    environment.step(dict.fromkeys(environment.agents, 0))
    began, steps = time.process_time(), 0
    for _ in range(10):
        environment.reset()
        while environment.agents:
            environment.step(dict.fromkeys(environment.agents, 3))
            steps += 1
    assert steps / (time.process_time() - began) > 1250
