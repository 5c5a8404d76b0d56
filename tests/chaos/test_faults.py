"""Every fault once, at an instant that its seed draws. `make chaos` does each of them many times (docs/reliability.md)."""

from __future__ import annotations

import pytest
from faults import FAULTS, Fault
from scene import Scene
from servers import Servers

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(500)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_run_survives(servers: Servers, tmp_path, fault: Fault):
    found = Scene(servers, tmp_path, seed=11).play(fault)
    assert found.problems == [], found
