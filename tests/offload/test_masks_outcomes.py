"""Tests masks and rewards: illegal actions, and the slot in which a reward counts."""

import dataclasses

import numpy as np
import pytest

from offload import Outcome, action_mask, end_slot, recorded_mask, reward
from offload.conformance import random_states
from offload.masks import pack_masks, unpack_masks


def states(overloaded, node, has_task):
    drawn = random_states(np.random.default_rng(0), len(overloaded[0]), len(node))
    return dataclasses.replace(
        drawn, node=np.array(node), overloaded=np.array(overloaded, dtype=bool), has_task=np.array(has_task)
    )


def test_mask_excludes_overloaded_nodes_but_never_itself():
    mask = action_mask(states([[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]], [0, 1, 2, 0], [True, True, True, False]))
    assert mask.astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]


def test_a_heuristics_action_is_legal_in_its_own_record_and_in_no_other():
    mask = np.array([[True, False, False], [True, False, True]])
    recorded = recorded_mask(mask, np.array([1, 0]))
    assert recorded.tolist() == [[True, True, False], [True, False, True]]
    assert not mask[0, 1]


@pytest.mark.parametrize("actions", [2, 8, 9, 11, 101])
def test_masks_survive_packing(actions):
    mask = np.random.default_rng(actions).random((7, 3, actions)) < 0.5
    packed = pack_masks(mask)
    assert packed.shape == (7, 3, -(-actions // 8))
    np.testing.assert_array_equal(unpack_masks(packed, actions), mask)


def test_the_first_action_is_the_lowest_bit():
    assert pack_masks(np.array([[True] + [False] * 8 + [True]])).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("slot", "completion_s", "expected"),
    [
        (0, 0.0, 0),
        (0, 0.05, 0),
        (3, 0.25, 5),
        (0, 0.3, 3),  # 0.3 / 0.1 is 2.9999999999999996 in floating point
        (7, 0.1, 8),
        (48, 0.5, 49),  # later than the last slot counts in the last slot
        (49, 99.0, 49),
    ],
)
def test_a_task_ends_in_the_slot_of_its_completion(slot, completion_s, expected):
    assert end_slot(slot, completion_s, 0.1, 50) == expected


def test_a_completion_on_any_boundary_belongs_to_the_later_slot():
    for slot_s in (0.1, 0.5, 0.07, 1 / 3):
        for slot in range(0, 90, 7):
            for later in range(9):
                assert end_slot(slot, later * slot_s, slot_s, 100) == slot + later


def test_only_success_is_worth_something():
    assert {outcome: reward(outcome) for outcome in Outcome} == {
        Outcome.SUCCESS: 1,
        Outcome.DROPPED: -1,
        Outcome.EXECUTION_FAILURE: -1,
        Outcome.TRANSMISSION_FAILURE: -1,
        Outcome.LOST: -1,
    }
