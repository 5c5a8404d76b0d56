"""Injects several faults in one run, at instants drawn from a seed.

`make chaos` injects each of them alone, many times (docs/reliability.md).
"""

from __future__ import annotations

import pytest
from faults import FAULTS
from scene import Scene
from servers import Servers

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(500)]
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.mark.parametrize(
    "names",
    [
        ("database-killed", "name-node-killed", "nacos-frozen", "data-node-killed"),
        ("node-killed", "node-frozen", "controller-killed", "trainer-killed"),
        ("second-command", "controller-replaced"),
    ],
    ids=["services", "processes", "controllers"],
)
def test_a_run_survives(servers: Servers, tmp_path, names: tuple[str, ...]):
    found = Scene(servers, tmp_path, seed=11).play(*(BY_NAME[name] for name in names))
    assert found.problems == [], found
    assert len(found.hits) == len(names)
