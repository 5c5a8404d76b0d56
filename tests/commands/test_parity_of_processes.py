"""Real processes and the numeric twin do the same to each task: same network, trace, decisions and draws, at real speed.

Slow: four edge nodes play for about twenty seconds, for each kind of transfer.
"""

from __future__ import annotations

import json

import pytest
from running import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SETTINGS = """
preset: paper-testbed
seed: 3
network: {nodes: 4, failure_rate: [0, 1.0], link_failure_rate: [0, 0.5]}
time: {slots: 30}
evaluation: {episodes: 2, methods: [random, sed]}
"""


@pytest.mark.parametrize("transfer", ["emulated", "payload"])
def test_the_testbed_does_what_the_twin_says(tmp_path, transfer):
    workplace = Workplace(tmp_path, settings=SETTINGS)
    options = ("--config", "small.yaml", "--set", f"node.transfer={transfer}", "--out", "out/small")
    done = workplace.run("run", *options, "--phase", "evaluate", "--phase", "report")
    assert done.returncode == 0, done.stdout
    told = workplace.run("parity", "out/small", "--json")
    assert told.returncode == 0, told.stdout
    found = json.loads(told.stdout[told.stdout.index("{") :])
    assert list(found) == [transfer]
    assert found[transfer]["tasks"] > 100
    assert found[transfer]["held"], found
    assert json.loads((tmp_path / "out/small/results.json").read_text())["parity"] == found
    assert "Parity with the numeric twin" in (tmp_path / "out/small/report.html").read_text()
