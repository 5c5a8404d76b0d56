"""Tests `offload replay`: results checked by hand, and messages for wrong input."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from commands.main import app
from offload.draws import Purpose, failure_instant_s

NETWORK = {
    "nodes": [
        {"capacity_hz": 1e9, "failure_rate": 0.5, "arrival_probability": 0.5},
        {"capacity_hz": 2e9, "failure_rate": 0.0, "arrival_probability": 0.5},
    ],
    "rates_bps": [[0, 1e7], [5e6, 0]],
    "link_failure_rates": [[0, 0.1], [0.2, 0]],
}
TASKS = {
    "slot_s": 0.1,
    "tasks": [
        {"slot": 0, "source": 0, "size_bits": 1e6, "cycles": 5e8, "deadline_s": 1.0},
        {"slot": 0, "source": 1, "size_bits": 1e6, "cycles": 5e8, "deadline_s": 1.0},
        {"slot": 2, "source": 0, "size_bits": 3e6, "cycles": 1e9, "deadline_s": 0.7},
    ],
}


@pytest.fixture
def replay(tmp_path):
    def call(*options, network=NETWORK, tasks=TASKS, decisions=None):
        files = {"network": network, "tasks": tasks, "decisions": decisions}
        arguments = ["replay"]
        for name, content in files.items():
            if content is not None:
                path = tmp_path / f"{name}.json"
                path.write_text(content if isinstance(content, str) else json.dumps(content))
                arguments += [f"--{name}", str(path)]
        return CliRunner().invoke(app, [*arguments, *options], terminal_width=300)

    return call


def tasks_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["tasks"]


def test_the_tables_of_the_documentation(replay) -> None:
    assert tasks_of(replay("--json", decisions=[1, 1, 1])) == [
        {
            "destination": 1, "outcome": "success", "transmission_waiting_s": 0.0, "transmission_s": 0.1,
            "execution_waiting_s": 0.15, "execution_s": 0.25, "end_s": 0.5,
        },
        {
            "destination": 1, "outcome": "success", "transmission_waiting_s": 0.0, "transmission_s": 0.0,
            "execution_waiting_s": 0.0, "execution_s": 0.25, "end_s": 0.25,
        },
        {
            "destination": 1, "outcome": "dropped", "transmission_waiting_s": 0.0, "transmission_s": 0.3,
            "execution_waiting_s": 0.0, "execution_s": 0.0, "end_s": 0.5,
        },
    ]  # fmt: skip
    done = replay(decisions=[1, 1, 1])
    assert done.exit_code == 0
    assert "3 tasks: 2 success, 1 dropped" in done.stdout


def test_failures_are_drawn_by_seed_and_episode(replay) -> None:
    def failed(*options):
        return (
            next(one["outcome"] for one in tasks_of(replay("--json", *options, decisions=[0, 0, 0])))
            == "execution_failure"
        )

    def drawn(seed, episode):
        return failure_instant_s(seed, Purpose.EXECUTION_FAILURE, episode, 0, 0, 0, 0.5) < 0.5

    assert not failed()
    seeds = range(30)
    assert [failed("--failures", "drawn", "--seed", str(seed)) for seed in seeds] == [drawn(seed, 0) for seed in seeds]
    assert any(drawn(seed, 0) for seed in seeds)
    episodes = range(15)
    failures = [failed("--failures", "drawn", "--seed", "3", "--episode", str(episode)) for episode in episodes]
    assert failures == [drawn(3, episode) for episode in episodes]
    seed = next(seed for seed in seeds if drawn(seed, 0))
    event = tasks_of(
        replay("--json", "--failures", "drawn", "--seed", str(seed), "--failure-timing", "event", decisions=[0, 0, 0])
    )
    assert event[0]["execution_s"] == pytest.approx(
        failure_instant_s(seed, Purpose.EXECUTION_FAILURE, 0, 0, 0, 0, 0.5), abs=1e-6
    )


def test_a_scheduler_decides(replay) -> None:
    assert [one["destination"] for one in tasks_of(replay("--json", "--scheduler", "local"))] == [0, 1, 0]
    sed = tasks_of(replay("--json", "--scheduler", "sed", "--set", "scheduler.parameters.d=1"))
    assert sed[0]["destination"] == 1  # 0.1 s on the link and 0.25 s there, against 0.5 s here


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "either --decisions or --scheduler"),
        ({"decisions": [0, 0]}, "2 entries; write a list of 3 destinations"),
        ({"decisions": [0, 0, 2]}, "destination of task 2 is 2; nodes are 0 to 1"),
        ({"decisions": [0, True, 0]}, "destination of task 1 is True"),
        ({"decisions": "[0,"}, "is not JSON"),
        (
            {"decisions": [0, 0, 0], "network": {**NETWORK, "rates_bps": [[0, 0], [1, 0]]}},
            "rates_bps[0][1]: 0 must be above 0",
        ),
        ({"decisions": [0, 0, 0], "network": {"nodes": []}}, "rates_bps: is missing"),
        (
            {"decisions": [0, 0, 0], "tasks": {"slot_s": 0.1, "tasks": TASKS["tasks"][::-1]}},
            "tasks[1]: is out of order",
        ),
        ({"decisions": [], "tasks": {"slot_s": 0.1, "tasks": []}}, "tasks: the list is empty"),
        ({"decisions": [0], "tasks": {"slot_s": 0, "tasks": TASKS["tasks"][:1]}}, "slot_s: 0 must be above 0"),
        (
            {"decisions": [0, 0, 0], "network": '{"nodes": [], "nodes": []}'},
            "the key 'nodes' is given twice in one object",
        ),
        ({"decisions": [0, 0, 0], "network": {**NETWORK, "delays_s": 1}}, "delays_s: unknown key"),
        (
            {"decisions": [0], "tasks": json.dumps(TASKS).replace("1.0}", "Infinity}")},
            "tasks[0].deadline_s: Infinity is not a finite number; 1e9 s",
        ),
        (
            {"decisions": [0], "tasks": json.dumps(TASKS).replace("1.0}", "1e308}")},
            "tasks[0].deadline_s: 1e+308 must be at most 1e+09; 1e9 s",
        ),
        ({"decisions": [0], "tasks": "[" * 100_000}, "is nested too deeply"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(replay, given, complaint) -> None:
    result = replay(**given)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())


def test_the_longest_deadline_is_as_good_as_none(replay) -> None:
    """A task that a deadline would drop waits, and ends at the time computed by hand. All numbers are finite."""
    tasks = {"slot_s": 0.1, "tasks": [{**task, "deadline_s": 1e9, "cycles": 5e9} for task in TASKS["tasks"]]}
    rows = tasks_of(replay("--json", tasks=tasks, decisions=[0, 0, 0]))
    assert [one["outcome"] for one in rows] == ["success"] * 3
    assert [one["end_s"] for one in rows] == [5.0, 15.0, 10.0]  # two arrive at 0.2 s: the lower source is first
    for scheduler in ("sed", "ratc", "rda", "rda-tuned", "local", "random", "weighted"):
        assert all(
            one["outcome"] == "success" for one in tasks_of(replay("--json", "--scheduler", scheduler, tasks=tasks))
        )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--scheduler", "fast"), "unknown scheduler 'fast'"),
        (("--scheduler", "drl"), "needs a model"),
        (("--scheduler", "sed", "--set", "scheduler.parameters.d=0"), "it must be at least 1"),
        (("--scheduler", "drl", "--model", "/nowhere"), "/nowhere is not a model's folder"),
        (("--scheduler", "local", "--episode", "-1"), "-1 is not in 0"),
        (("--scheduler", "local", "--failures", "some"), "some"),
    ],
)
def test_wrong_options_are_named(replay, options, complaint) -> None:
    result = replay(*options)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())
