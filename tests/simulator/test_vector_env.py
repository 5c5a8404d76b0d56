"""Tests the Gymnasium view: its rows equal the PettingZoo view's agents, its infos Gymnasium's own vectorization."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.presets import PRESETS
from simulator.parallel_env import OffloadingParallelEnv
from simulator.registration import GYMNASIUM_ID, PETTINGZOO_ID, register
from simulator.twin import Twin
from simulator.vector_env import OffloadingVectorEnv

NODES, SLOTS, EPISODES = 4, 20, 3
ROWS = NODES * EPISODES
SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": NODES}, "time": {"slots": SLOTS}}])
ROOT = Path(__file__).resolve().parents[2]


def legal_actions(masks, rng):
    """One legal action per row, drawn uniformly."""
    return (rng.random(masks.shape) * masks).argmax(axis=-1)


def own_node(environment: OffloadingVectorEnv):
    """Each task stays where it is."""
    nodes = np.arange(environment.num_envs) % environment.nodes
    return np.where(environment.action_masks()[:, -1], environment.nodes, nodes)


def assert_alike(found, expected, where=""):
    """Compares infos: dicts, arrays, and arrays of dicts."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key, value in expected.items():
            assert_alike(found[key], value, f"{where} {key}")
    elif expected.dtype == object:
        assert found.shape == expected.shape
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, where)
    else:
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        np.testing.assert_array_equal(found, expected, err_msg=where)


def gathered(vector: OffloadingVectorEnv, infos_of_rows):
    """The infos of all rows, combined by Gymnasium itself."""
    gathered = {}
    for row, infos in enumerate(infos_of_rows):
        gathered = vector._add_info(gathered, infos, row)
    return gathered


def test_vector_env_equals_the_vectorized_parallel_env() -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=EPISODES)
    alone = [OffloadingParallelEnv(SETTINGS) for _ in range(EPISODES)]
    agents = alone[0].possible_agents
    rng = np.random.default_rng(0)
    observed, infos = vector.reset(seed=5)

    def begun(first):
        both = [one.reset(seed=5, options={"trace": first + b}) for b, one in enumerate(alone)]
        return [seen[a] for seen, _ in both for a in agents], [info[a] for _, info in both for a in agents]

    theirs, their_infos = begun(0)
    for slot in range(2 * SLOTS + 3):
        for name in ("observation", "action_mask"):
            np.testing.assert_array_equal(observed[name], np.stack([row[name] for row in theirs]), err_msg=f"{slot}")
        assert vector.observation_space.contains(observed)
        assert_alike(infos, gathered(vector, their_infos), f"slot {slot}")
        masks = vector.action_masks()
        assert masks.dtype == bool
        np.testing.assert_array_equal(masks, observed["action_mask"])
        # Sometimes any action, so that some are illegal.
        actions = legal_actions(masks, rng) if slot % 3 else rng.integers(0, NODES + 1, ROWS)
        observed, rewards, terminated, truncated, infos = vector.step(actions)
        stepped = [
            one.step(dict(zip(agents, actions[b * NODES : (b + 1) * NODES], strict=True)))
            for b, one in enumerate(alone)
        ]
        theirs = [one[0][a] for one in stepped for a in agents]
        their_infos = [one[4][a] for one in stepped for a in agents]
        np.testing.assert_array_equal(rewards, [one[1][a] for one in stepped for a in agents])
        assert not terminated.any()
        assert truncated.tolist() == [slot % SLOTS == SLOTS - 1] * ROWS
        if truncated[0]:
            last = zip(theirs, their_infos, strict=True)
            theirs, their_infos = begun((slot + 1) // SLOTS * EPISODES)
            their_infos = [
                {"final_obs": seen, "final_info": final} | new
                for (seen, final), new in zip(last, their_infos, strict=True)
            ]


def test_traces_follow_one_another_and_a_seed_begins_them_again() -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=2)

    def played(**how):
        begun = [vector.reset(**how)[0]["observation"]]
        for _ in range(2):
            for _ in range(SLOTS):
                observed, *_ = vector.step(own_node(vector))
            begun.append(observed["observation"])
        return np.stack(begun)

    first = played()
    np.testing.assert_array_equal(first, played(seed=SETTINGS.seed))
    np.testing.assert_array_equal(first[1:], played(seed=SETTINGS.seed, options={"trace": 2})[:2])
    other = played(seed=3)
    np.testing.assert_array_equal(other, played(seed=3))
    assert vector.np_random_seed == 3
    rows = np.concatenate([first, other]).reshape(-1, NODES * first.shape[2])
    assert len(np.unique(rows, axis=0)) == len(rows), "twelve different traces"


def test_what_was_handed_out_is_not_overwritten() -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=2)
    observed, infos = vector.reset(seed=1)
    kept = []
    for _ in range(SLOTS + 2):
        kept += [(one, one.copy()) for one in (*observed.values(), infos["illegal"], vector.action_masks())]
        if "final_obs" in infos:
            kept += [(one, one.copy()) for row in infos["final_obs"] for one in row.values()]
        observed, _, _, _, infos = vector.step(np.zeros(2 * NODES, int))
    for array, was in kept:
        np.testing.assert_array_equal(array, was)
    vector.action_masks()[:] = False
    assert vector.action_masks().any(), "what is legal is not the caller's to change"


def test_gymnasiums_wrappers_understand_it() -> None:
    vector = RecordEpisodeStatistics(OffloadingVectorEnv(SETTINGS, episodes=EPISODES))
    vector.reset(seed=1)
    sums = np.zeros(ROWS)
    for _ in range(SLOTS):
        _, rewards, _, _, infos = vector.step(own_node(vector.unwrapped))
        sums += rewards
    np.testing.assert_array_equal(infos["episode"]["r"], sums)
    assert set(infos["episode"]["l"]) == {SLOTS}
    listed = DictInfoToList(OffloadingVectorEnv(SETTINGS, episodes=EPISODES))
    listed.reset(seed=1)
    for _ in range(SLOTS):
        *_, infos = listed.step(own_node(listed.unwrapped))
    assert len(infos) == ROWS
    assert 0 < infos[-1]["final_info"]["success_rate"] <= 1
    assert infos[-1]["final_obs"]["observation"].shape == listed.single_observation_space["observation"].shape


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        (np.zeros(ROWS - 1, int), r"shape \(11,\), not \(12,\)"),
        (np.zeros((EPISODES, NODES), int), r"shape \(3, 4\), not \(12,\)"),
        (np.zeros(ROWS), "must be integers"),
        (np.eye(ROWS, dtype=int)[6] * 5, "episode 1, node_2: action 5 is not in 0 … 4"),
        (-np.eye(ROWS, dtype=int)[11], "episode 2, node_3: action -1"),
    ],
)
def test_what_is_no_action_is_refused(actions, complaint) -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=EPISODES)
    vector.reset()
    with pytest.raises(ValueError, match=complaint):
        vector.step(actions)


def test_wrong_makings_and_resets_are_refused() -> None:
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        OffloadingVectorEnv(SETTINGS, episodes=0)
    with pytest.raises(ValueError, match="unknown preset 'papers'"):
        OffloadingVectorEnv("papers")
    vector = OffloadingVectorEnv(SETTINGS, episodes=EPISODES)
    with pytest.raises(ValueError, match="give one seed"):
        vector.reset(seed=[1] * ROWS)
    with pytest.raises(ValueError, match="seed 4294967296 is not in 0"):
        vector.reset(seed=2**32)
    with pytest.raises(ValueError, match="trace 4294967294 is not in 0 … 4294967293"):
        vector.reset(options={"trace": 2**32 - 2})  # three episodes have begun
    vector.reset(options={"trace": 2**32 - 3})
    vector.reset(seed=np.int64(3), options={"unknown": 1})


def test_gymnasium_makes_it_by_its_id() -> None:
    register()  # a second call has no effect
    made = gymnasium.make_vec(GYMNASIUM_ID, settings=SETTINGS, episodes=EPISODES)
    assert made.num_envs == ROWS
    assert made.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert made.observation_space["observation"].shape[0] == made.action_space.shape[0] == ROWS
    assert made.observation_space.contains(made.reset(seed=1)[0])
    assert made.action_space.contains(own_node(made))
    assert gymnasium.make_vec(GYMNASIUM_ID, num_envs=8, settings=SETTINGS).num_envs == 8
    assert gymnasium.make_vec(GYMNASIUM_ID, num_envs=ROWS, settings=SETTINGS, episodes=EPISODES).num_envs == ROWS
    assert gymnasium.make_vec(made.spec).num_envs == ROWS
    for wrong in ({"num_envs": 7}, {"num_envs": 8, "episodes": EPISODES}, {"num_envs": 2}):
        with pytest.raises(ValueError, match=r"must be episodes · 4 nodes; give `episodes` instead"):
            gymnasium.make_vec(GYMNASIUM_ID, settings=SETTINGS, **wrong)
    with pytest.raises(gymnasium.error.Error, match="entry_point is not specified"):
        gymnasium.make(GYMNASIUM_ID)


@pytest.mark.parametrize(
    "made",
    [
        f"import gymnasium; gymnasium.make_vec('simulator.registration:{GYMNASIUM_ID}', settings='demo', episodes=2)",
        f"import gymnasium, simulator.registration; assert 'numba' not in sys.modules, 'registering compiles nothing'; "
        f"gymnasium.make_vec('{GYMNASIUM_ID}', settings='demo', episodes=2)",
        f"import gymnasium, simulator.vector_env; gymnasium.make_vec('{GYMNASIUM_ID}', settings='demo', episodes=2)",
        f"import pettingzoo, simulator.registration; pettingzoo.make('parallel', '{PETTINGZOO_ID}', settings='demo')",
    ],
)
def test_the_ids_are_known_as_documented(made: str) -> None:
    """In a separate process: in this one the ids are registered already."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {made}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["random", "sed"])
def test_a_scheduler_plays_in_the_vector_view_as_in_the_twin(name: str) -> None:
    vector = OffloadingVectorEnv(SETTINGS, episodes=EPISODES)
    _, infos = vector.reset()
    while "final_info" not in infos:
        *_, infos = vector.step(vector.scheduler_actions(name))
    network = draw_network(SETTINGS.network, SETTINGS.seed)
    traces = [
        draw_trace(SETTINGS.tasks, network, SETTINGS.time.slot_s, SLOTS, SETTINGS.seed, k) for k in range(EPISODES)
    ]
    scheduler = create_scheduler(name, {}, SchedulerContext(NODES, make_profile(SETTINGS)))
    rates = Twin([network], traces, SETTINGS).play(scheduler).success_rates()
    np.testing.assert_array_equal(infos["final_info"]["success_rate"], np.repeat(rates, NODES))
    with pytest.raises(ValueError, match="nobody"):
        vector.scheduler_actions("nobody")
