"""Tests the settings: wrong ones are rejected with a reason, and passwords are not shown."""

import json

import pytest

from edgenode.interface import Tick
from middleware.http.problems import parsed
from offload import PRESETS, SettingsError, resolve_settings
from offload.limits import LONGEST_DEADLINE_S, MOST_BITS, MOST_CYCLES
from offload.settings import merge_layers, redacted


def refusal(layer):
    with pytest.raises(SettingsError) as refused:
        resolve_settings([layer])
    return str(refused.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset):
    settings = resolve_settings([PRESETS[preset]])
    assert settings.network.nodes >= 2


def test_the_papers_testbed_is_what_the_paper_says():
    settings = resolve_settings([PRESETS["paper-testbed"]])
    assert settings.network.nodes == 10
    assert settings.network.rate_bps == (80e6, 320e6)  # 10 … 40 MB/s
    assert settings.tasks.size_bits == (4e6, 20e6)  # 500 … 2500 KB
    assert (settings.time.slot_s, settings.time.slots, settings.tasks.deadline_s) == (0.1, 50, 1.0)
    assert (settings.offline.entropy_weight, settings.offline.soft_update, settings.offline.cql_weight) == (
        0.05,
        5e-4,
        0.1,
    )


@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        ({"netwrok": {}}, ["netwrok", "not a setting", "network"]),
        ({"network": {"node": 3}}, ["network.node:", "not a setting", "nodes"]),
        ({"network": {"nodes": 0}}, ["network.nodes: 0", "from 1 to 1000"]),
        ({"network": {"nodes": 2.5}}, ["network.nodes: 2.5", "a whole number"]),
        ({"network": {"cores": []}}, ["network.cores"]),
        ({"network": {"arrival_probability": [0, 1.2]}}, ["network.arrival_probability", "1.2", "between 0 and 1"]),
        ({"network": {"rate_bps": [0, "40 MB/s"]}}, ["network.rate_bps", "above 0"]),
        ({"network": {"rate_bps": ["40 MB/s", "10 MB/s"]}}, ["network.rate_bps", "not a range"]),
        ({"network": {"rate_bps": ["10 MB", "40 MB/s"]}}, ["network.rate_bps[0]", "'10 MB'", "transmission rate"]),
        ({"network": {"failure_rate": [-0.1, 0.4]}}, ["network.failure_rate", "-0.1"]),
        ({"tasks": {"deadline_s": "1 GB"}}, ["tasks.deadline_s", "'1 GB'", "a duration"]),
        ({"tasks": {"deadline_s": 0}}, ["tasks.deadline_s", ": 0 is not a duration above 0"]),
        ({"tasks": {"deadline_s": float("inf")}}, ["tasks.deadline_s", "finite", "inf"]),
        ({"time": {"slot_s": float("nan")}}, ["time.slot_s", "nan"]),
        ({"time": {"failure_timing": "start"}}, ["time.failure_timing", "'end' or 'event'", "'start'"]),
        ({"seed": -1}, ["seed: -1", "from 0 to 4294967295"]),
        ({"seed": 2**32}, ["seed", "4294967295"]),
        ({"online": {"episodes": 15, "episodes_per_update": 10}}, ["online.episodes = 15", "multiple"]),
        ({"services": {"database": "postgres://x"}}, ["services.database", "sqlite:///", "mysql+pymysql://"]),
        ({"log_level": "LOUD"}, ["log_level", "'LOUD'"]),
    ],
)
def test_error_names_path_value_and_expected_value(layer, parts):
    message = refusal(layer)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ({"tasks": {"deadline_s": 1e10}}, "tasks.deadline_s"),
        ({"tasks": {"size_bits": [1e308, 1e308]}}, "tasks.size_bits"),
        ({"tasks": {"size_bits": [1e14, 1e15], "complexity_cycles_per_bit": [1e3, 1e4]}}, "at most 1e+18"),
        ({"time": {"slot_s": 1e7}}, "time.slot_s"),
        ({"network": {"rate_bps": [1, 1e19]}}, "network.rate_bps"),
        ({"network": {"failure_rate": [0, 1e300]}}, "network.failure_rate"),
        ({"network": {"core_frequency_hz": 1e300}}, "network.core_frequency_hz"),
        ({"network": {"cores": [10**9]}}, "network.cores"),
        ({"node": {"write_interval_s": 1e300}}, "node.write_interval_s"),
        ({"node": {"request_timeout_s": 1e300}}, "node.request_timeout_s"),
        ({"node": {"probe_timeout_s": 1e-300}}, "node.probe_timeout_s"),
        ({"node": {"overload_refresh_s": 1e300}}, "node.overload_refresh_s"),
        ({"scheduler": {"model": "a\nb/c"}}, "scheduler.model"),
        ({"scheduler": {"model": "\u202e/x"}}, "scheduler.model"),
        ({"services": {"registry": "nacos://[::1"}}, "in brackets"),
    ],
)
def test_what_no_node_could_work_with_is_refused(layer, part):
    with pytest.raises(SettingsError) as refused:
        resolve_settings([layer])
    assert part in str(refused.value)


def test_the_largest_task_of_the_settings_is_one_that_nodes_take():
    """A node that rejects what the settings allow would lose every task."""
    limits = {"size_bits": MOST_BITS, "cycles": MOST_CYCLES, "deadline_s": LONGEST_DEADLINE_S}
    resolve_settings(
        [
            {
                "tasks": {
                    "size_bits": [1, MOST_BITS],
                    "complexity_cycles_per_bit": [1, MOST_CYCLES / MOST_BITS],
                    "deadline_s": LONGEST_DEADLINE_S,
                }
            }
        ]
    )
    parsed(Tick, json.dumps({"episode": 1, "slot": 0, "task": limits}).encode())


def test_every_problem_is_reported_at_once():
    assert len(refusal({"seed": -1, "network": {"nodes": 0}, "surprise": 1}).splitlines()) == 3


def test_a_refused_address_does_not_show_its_password():
    message = refusal({"services": {"database": "mysql://u:geheim@h/d", "registry": "nacs://u:geheim@h"}})
    assert "geheim" not in message


def test_redacted_keeps_all_but_the_password():
    assert redacted("mysql+pymysql://u:geheim@h:3306/d?x=1") == "mysql+pymysql://u:***@h:3306/d?x=1"
    assert redacted("sqlite:///a/b.db") == "sqlite:///a/b.db"


def test_later_layers_win_key_by_key():
    merged = merge_layers([{"network": {"nodes": 3, "index": 1}}, {"network": {"nodes": 4}}, {"seed": 5}])
    assert merged == {"network": {"nodes": 4, "index": 1}, "seed": 5}


def test_another_scheduler_does_not_inherit_the_parameters_of_the_one_before():
    chosen = resolve_settings(
        [{"scheduler": {"name": "sed", "parameters": {"d": 3}}}, {"scheduler": {"name": "rda"}}]
    ).scheduler
    assert (chosen.name, chosen.parameters) == ("rda", {})


def test_merging_leaves_the_layers_as_they_were():
    layers = [{"scheduler": {"name": "sed", "parameters": {"d": 3}}}, {"scheduler": {"name": "rda"}}]
    merge_layers(layers)
    assert layers[0] == {"scheduler": {"name": "sed", "parameters": {"d": 3}}}


def test_overload_threshold_defaults_to_a_quarter_deadline():
    assert resolve_settings([{"tasks": {"deadline_s": 4}}]).overload_threshold_s == 1.0
    assert resolve_settings([{"node": {"overload_threshold_s": "200 ms"}}]).overload_threshold_s == 0.2


def test_a_runs_experiment_can_be_read_back_and_holds_no_address():
    settings = resolve_settings([PRESETS["demo"], {"services": {"database": "sqlite:///x.db"}}])
    stored = settings.experiment()
    assert "services" not in stored
    assert resolve_settings([stored]).experiment() == stored


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValueError):
        resolve_settings([]).network.nodes = 3
