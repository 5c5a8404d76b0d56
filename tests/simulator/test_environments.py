"""The PettingZoo and Gymnasium views: they pass their libraries' tests, and say what the twin says."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.vector import AutoresetMode
from pettingzoo.test import parallel_api_test, parallel_seed_test

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.presets import PRESETS
from simulator.observations import Observer
from simulator.parallel_env import OffloadingParallelEnv
from simulator.twin import Twin
from simulator.vector_env import OffloadingVectorEnv

SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 5}, "time": {"slots": 25}}])
NODES, SLOTS = 5, 25
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_maskable_ppo.py"


def legal_actions(masks, rng):
    """One legal action per row, uniform."""
    return (rng.random(masks.shape) * masks).argmax(axis=-1)


def test_pettingzoos_own_tests_pass_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(OffloadingParallelEnv(SETTINGS), num_cycles=120)
        parallel_seed_test(lambda: OffloadingParallelEnv(SETTINGS), num_cycles=60)


def test_an_episode_is_the_twins() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    observed, infos = environment.reset(seed=9, options={"trace": 4})
    settings = SETTINGS.model_copy(update={"seed": 9})
    network = draw_network(SETTINGS.network, SETTINGS.seed)
    trace = draw_trace(settings.tasks, network, settings.time.slot_s, SLOTS, 9, 4)
    twin = Twin([network], [trace], settings)
    observer, rng = Observer(twin, make_profile(settings)), np.random.default_rng(0)
    rewards = []
    for slot in range(SLOTS + 1):
        seen, masks = observer.observe()
        for i in range(NODES):
            agent = f"node_{i}"
            np.testing.assert_array_equal(observed[agent]["observation"], seen[0, i])
            np.testing.assert_array_equal(observed[agent]["action_mask"], masks[0, i])
            np.testing.assert_array_equal(infos[agent]["action_mask"], masks[0, i])
            assert environment.observation_space(agent).contains(observed[agent])
        if slot == SLOTS:
            break
        actions = legal_actions(masks[0], rng)
        observed, reward, terminated, truncated, infos = environment.step(
            dict(zip(environment.agents, actions, strict=True))
        )
        twin.decide(np.where(actions == NODES, 0, actions)[None])
        rewards.append(set(reward.values()))
        assert set(terminated.values()) == {False}
        assert set(truncated.values()) == {slot == SLOTS - 1}
        assert not any(one["illegal"] for one in infos.values())
    assert [{float(value)} for value in twin.team_reward[0]] == rewards
    assert environment.agents == []
    assert infos["node_0"]["success_rate"] == twin.fates().success_rates()[0]
    with pytest.raises(ValueError, match="reset the environment"):
        environment.step({})


def test_traces_follow_one_another_and_a_seed_begins_them_again() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    firsts = [environment.reset(seed=3)[0], environment.reset()[0], environment.reset()[0]]
    again = [environment.reset(seed=3)[0], environment.reset()[0], environment.reset(options={"trace": 2})[0]]
    flat = [[np.concatenate([one[agent]["observation"] for agent in one]) for one in part] for part in (firsts, again)]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert not np.array_equal(flat[0][0], flat[0][1])
    assert not np.array_equal(
        flat[0][0], np.concatenate([one["observation"] for one in environment.reset(seed=4)[0].values()])
    )
    with pytest.raises(ValueError, match="seed -1 is not in 0"):
        environment.reset(seed=-1)


def test_what_was_handed_out_is_not_overwritten() -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    observed, infos = environment.reset(seed=1)
    kept = {agent: (one["observation"].copy(), one["action_mask"].copy()) for agent, one in observed.items()}
    for _ in range(SLOTS):
        environment.step(dict.fromkeys(environment.agents, 0))
    for agent, (seen, mask) in kept.items():
        np.testing.assert_array_equal(observed[agent]["observation"], seen)
        np.testing.assert_array_equal(infos[agent]["action_mask"], mask)


def test_illegal_actions_are_taken_as_documented_and_told() -> None:
    wrong, right = OffloadingParallelEnv(SETTINGS), OffloadingParallelEnv(SETTINGS)
    wrong.reset(seed=1)
    _, infos = right.reset(seed=1)
    told = 0
    while right.agents:
        idle = {agent: bool(infos[agent]["action_mask"][NODES]) for agent in right.agents}
        # Where there is a task, "no task" leaves it; where there is none, a node is ignored.
        right_actions = {agent: NODES if idle[agent] else i for i, agent in enumerate(right.agents)}
        wrong_actions = {agent: 2 if idle[agent] else NODES for agent in right.agents}
        first = wrong.step(wrong_actions)
        second = right.step(right_actions)
        infos = second[4]
        assert first[1] == second[1]
        for agent in idle:
            np.testing.assert_array_equal(first[0][agent]["observation"], second[0][agent]["observation"])
        told += sum(one["illegal"] for one in first[4].values())
        assert not any(one["illegal"] for one in infos.values())
    assert told == SLOTS * NODES


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ({}, "node_0 has no action"),
        ({f"node_{i}": 6 for i in range(5)}, "node_0: action 6; actions are 0 to 5"),
        ({f"node_{i}": -1 for i in range(5)}, "node_0: action -1"),
        ({f"node_{i}": 1.5 for i in range(5)}, "node_0: action 1.5"),
    ],
)
def test_what_is_no_action_is_refused(actions, complaint) -> None:
    environment = OffloadingParallelEnv(SETTINGS)
    environment.reset(seed=1)
    with pytest.raises(ValueError, match=complaint):
        environment.step(actions)


def test_wrong_makings_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no preset 'papers'; there are demo"):
        OffloadingParallelEnv("papers")
    with pytest.raises(ValueError, match="the network has 5 nodes, the settings say 20"):
        OffloadingParallelEnv("paper-simulation", network=draw_network(SETTINGS.network, 1))
    with pytest.raises(ValueError, match="0 episodes"):
        OffloadingVectorEnv(SETTINGS, episodes=0)


def test_the_vector_view_is_the_parallel_one_row_by_row() -> None:
    episodes = 3
    vector = OffloadingVectorEnv(SETTINGS, episodes=episodes)
    alone = [OffloadingParallelEnv(SETTINGS) for _ in range(episodes)]
    rng = np.random.default_rng(0)
    for round_ in range(2):
        if round_ == 0:
            observed, infos = vector.reset(seed=5)
        theirs = [one.reset(seed=5, options={"trace": round_ * episodes + b})[0] for b, one in enumerate(alone)]
        for slot in range(SLOTS):
            rows = [theirs[b][agent] for b in range(episodes) for agent in alone[b].possible_agents]
            for name in ("observation", "action_mask"):
                np.testing.assert_array_equal(observed[name], np.stack([row[name] for row in rows]), err_msg=f"{slot}")
            np.testing.assert_array_equal(vector.action_masks(), observed["action_mask"].astype(bool))
            np.testing.assert_array_equal(infos["action_mask"], observed["action_mask"])
            assert vector.observation_space.contains(observed)
            actions = legal_actions(vector.action_masks(), rng)
            observed, rewards, terminated, truncated, infos = vector.step(actions)
            stepped = [
                one.step(dict(zip(one.agents, actions[b * NODES : (b + 1) * NODES], strict=True)))
                for b, one in enumerate(alone)
            ]
            theirs = [one[0] for one in stepped]
            np.testing.assert_array_equal(rewards, np.repeat([one[1]["node_0"] for one in stepped], NODES))
            assert not terminated.any()
            assert set(truncated.tolist()) == {slot == SLOTS - 1}
        last = [theirs[b][agent]["observation"] for b in range(episodes) for agent in alone[b].possible_agents]
        np.testing.assert_array_equal(infos["final_obs"]["observation"], np.stack(last))
        rates = [one[4]["node_0"]["success_rate"] for one in stepped]
        np.testing.assert_array_equal(infos["success_rate"], np.repeat(rates, NODES))
        assert infos["_final_obs"].all()


def test_the_ids_are_registered() -> None:
    made = gymnasium.make_vec("simulator.vector_env:offload_testbed/Offloading-v0", settings=SETTINGS, episodes=2)
    assert made.num_envs == 2 * NODES
    assert made.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert made.reset(seed=1)[0]["observation"].shape[0] == 10
    with pytest.raises(ValueError, match="num_envs = 7 is not episodes · nodes"):
        gymnasium.make_vec("offload_testbed/Offloading-v0", num_envs=7, settings=SETTINGS, episodes=2)
    zoo = pettingzoo.make("parallel", "offload_testbed/offloading-v0", settings=SETTINGS)
    assert len(zoo.reset(seed=1)[0]) == NODES


def test_a_scheduler_plays_in_the_vector_view_as_in_the_twin() -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=2)
    vector.reset()
    truncated = [False]
    while not truncated[0]:
        _, _, _, truncated, infos = vector.step(vector.scheduler_actions("sed", d=1))
    network = draw_network(SETTINGS.network, SETTINGS.seed)
    traces = [draw_trace(SETTINGS.tasks, network, SETTINGS.time.slot_s, SLOTS, SETTINGS.seed, k) for k in range(2)]
    sed = create_scheduler("sed", {"d": 1}, SchedulerContext(NODES, make_profile(SETTINGS), None, network.capacity_hz))
    rates = Twin([network], traces, SETTINGS).play(sed).success_rates()
    np.testing.assert_array_equal(infos["success_rate"], np.repeat(rates, NODES))


def test_the_example_trains_somebody_elses_algorithm() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--steps", "3600"], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.rsplit(": ", 1) for line in done.stdout.strip().splitlines())
    assert float(told["ratc"]) > float(told["random"])
    assert 0.4 < float(next(rate for name, rate in told.items() if name.startswith("MaskablePPO"))) <= 1
