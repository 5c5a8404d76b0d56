"""Tests networks: a seed always gives the same network, and impossible ones are rejected."""

import copy
import json

import numpy as np
import pytest

from offload import Network, draw_network, resolve_settings

SETTINGS = resolve_settings([{"network": {"nodes": 4}}]).network


def test_the_same_seed_draws_the_same_network_and_another_index_another_one():
    one, again, other = (draw_network(SETTINGS, 5, index) for index in (0, 0, 1))
    np.testing.assert_array_equal(one.rate_bps, again.rate_bps)
    assert not np.array_equal(one.rate_bps, other.rate_bps)


def test_a_drawn_network_lies_in_the_settings_ranges():
    network = draw_network(resolve_settings([{"network": {"nodes": 200}}]).network, 1)
    assert set(network.capacity_hz / 3e9) == {4, 8, 12, 16, 20, 24, 28, 32}
    assert 80e6 <= network.rate_bps.min() < network.rate_bps.max() <= 320e6
    assert 0 <= network.failure_rate.min() < 0.02 < 0.38 < network.failure_rate.max() <= 0.4
    assert network.link_failure_rate.max() <= 0.03


def test_a_network_survives_the_way_through_json():
    network = draw_network(SETTINGS, 5)
    data = json.loads(json.dumps(network.to_json()))
    again = Network.from_json(data)
    assert again.to_json() == data
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_array_equal(again.rate_bps[off], network.rate_bps[off])
    np.testing.assert_array_equal(again.capacity_hz, network.capacity_hz)


def _changed(change):
    data = copy.deepcopy(draw_network(SETTINGS, 5).to_json())
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda d: d.pop("rates_bps"), ["rates_bps"]),
        (lambda d: d["nodes"][1].pop("capacity_hz"), ["capacity_hz"]),
        (lambda d: d["nodes"].clear(), ["at least one node"]),
        (lambda d: d["nodes"].pop(), ["rates_bps: has 4 entries; expected 3 rows"]),
        (lambda d: d["nodes"][2].update(capacity_hz=0), ["nodes[2].capacity_hz: 0 must be above 0"]),
        (
            lambda d: d["nodes"][2].update(arrival_probability=1.5),
            ["nodes[2].arrival_probability: 1.5 must be at most 1"],
        ),
        (lambda d: d["nodes"][2].update(failure_rate=-1), ["nodes[2].failure_rate: -1 must be at least 0"]),
        (
            lambda d: d["nodes"][2].update(failure_rate=float("nan")),
            ["nodes[2].failure_rate: NaN is not a finite number"],
        ),
        (lambda d: d["nodes"][2].update(capacity_hz="much"), ["nodes[2].capacity_hz: 'much' is not a number"]),
        (lambda d: d["rates_bps"][0].__setitem__(1, 0), ["rates_bps[0][1]: 0 must be above 0"]),
        (lambda d: d["rates_bps"][0].pop(), ["rates_bps[0]: has 3 entries; expected 4 numbers"]),
        (lambda d: d.update(nodes=7), ["nodes: 7 is not a list of objects"]),
        (
            lambda d: d.update(delays_s=[]),
            ["delays_s: unknown key; known keys: nodes, rates_bps, link_failure_rates"],
        ),
        (lambda d: d.update(link_failure_rate=[]), ["unknown key, did you mean link_failure_rates?"]),
        (lambda d: d["nodes"][1].update(cores=4), ["nodes[1].cores: unknown key"]),
        (lambda d: d["nodes"][1].update(capacity_hz=True), ["nodes[1].capacity_hz: true is not a number"]),
        (lambda d: d["nodes"][1].update(capacity_hz="1e9"), ["nodes[1].capacity_hz: '1e9' is not a number"]),
        (lambda d: d["nodes"][1].update(capacity_hz=10**400), ["is not a finite number"]),
        (lambda d: d["nodes"][1].update(capacity_hz=1e308), ["nodes[1].capacity_hz: 1e+308 must be at most 1e+18"]),
        (
            lambda d: d["link_failure_rates"][2].__setitem__(1, -0.5),
            ["link_failure_rates[2][1]: -0.5 must be at least 0"],
        ),
        (lambda d: d.update(rates_bps=[1, 2, 3, 4]), ["rates_bps[0]: 1 is not a list"]),
    ],
)
def test_an_impossible_network_is_refused_with_the_place(change, parts):
    with pytest.raises(ValueError) as refused:
        Network.from_json(_changed(change))
    for part in parts:
        assert part in str(refused.value)


def test_one_node_alone_is_a_network():
    assert draw_network(resolve_settings([{"network": {"nodes": 1}}]).network, 1).nodes == 1
