"""Tests that real processes and the numeric twin give each task the same outcome and times, at real speed.

Both use the same network, trace, decisions and draws. Slow: four edge nodes play for about twenty seconds with each
kind of transfer. Real time needs a machine that is not fully loaded. If slots or wake-ups were late, a run that
disagrees is repeated, and then skipped with what was measured. A run that was on time must agree.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from running import Workplace

from middleware.database import Database
from middleware.database.schema import decisions, nodes

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(500)]

SETTINGS = """
preset: paper-testbed
seed: 3
network: {nodes: 4, failure_rate: [0, 1.0], link_failure_rate: [0, 0.5]}
time: {slots: 30}
evaluation: {episodes: 2, methods: [random, sed]}
"""
ATTEMPTS = 3
LATE_SLOTS = 0.02
"""The share of slots whose tick may be more than a tenth of a slot late."""
LATE_WAKE_S = 0.005
"""Limit of the 99th percentile of a sleeper's wake-up delay: a quarter of the allowed difference of waiting times."""

LATE_TICK_S = 0.0025
"""Allowed 95th percentile of a node's wake-up delay at a tick. Nodes work, so they wake up later than a sleeper."""


@dataclass(frozen=True)
class Lateness:
    """How busy the machine was during a run. It does not depend on the outcomes of tasks."""

    late_slots: int
    slots: int
    wake_p99_s: float
    tick_p95_s: float

    @property
    def on_time(self) -> bool:
        woken = self.wake_p99_s <= LATE_WAKE_S and self.tick_p95_s <= LATE_TICK_S
        return woken and self.late_slots <= LATE_SLOTS * self.slots

    def __str__(self) -> str:
        return (
            f"{self.late_slots} of {self.slots} slots were late, "
            f"a sleeper woke up to {self.wake_p99_s * 1e3:.1f} ms late, "
            f"and nodes up to {self.tick_p95_s * 1e3:.1f} ms after a tick's instant"
        )


class Sleeper:
    """A thread that sleeps and measures how late it wakes up."""

    def __init__(self) -> None:
        self._stopping, self._late_s = threading.Event(), [0.0]
        self._thread = threading.Thread(target=self._sleep)

    def __enter__(self) -> Sleeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def p99_s(self) -> float:
        return float(np.quantile(self._late_s, 0.99))

    def _sleep(self) -> None:
        while not self._stopping.is_set():
            due = time.monotonic() + 0.005
            time.sleep(0.005)
            self._late_s.append(time.monotonic() - due)


def play(folder: Path, transfer: str) -> tuple[Workplace, Lateness]:
    """Play a run in a separate folder."""
    folder.mkdir()
    workplace = Workplace(folder, settings=SETTINGS)
    options = ("--config", "small.yaml", "--set", f"node.transfer={transfer}", "--out", "runs/small")
    with Sleeper() as sleeper:
        done = workplace.run("run", *options, "--phase", "evaluate", "--phase", "report")
    assert done.returncode == 0, done.stdout
    fidelity = json.loads((folder / "runs/small/results.json").read_text())["fidelity"][transfer]
    database = Database.connect(workplace.database_url)
    with database.reading() as connection:
        skews = [skew for (skew,) in connection.execute(sa.select(decisions.c.skew_s))]
    database.close()
    tick_p95_s = float(np.quantile(skews, 0.95))
    return workplace, Lateness(fidelity["late_slots"], fidelity["slots"], sleeper.p99_s(), tick_p95_s)


def parity(workplace: Workplace) -> dict[str, Any]:
    """The result of `offload parity`."""
    shown = workplace.run("parity", "runs/small", "--json")
    assert shown.returncode == 0, shown.stdout
    found: dict[str, Any] = json.loads(shown.stdout[shown.stdout.index("{") :])
    return found


def is_judged(found: dict[str, Any], lateness: Lateness) -> bool:
    """Whether the run counts: False if it disagrees and was late. Fails if it disagrees and was on time."""
    held = all(one["held"] for one in found.values())
    assert held or not lateness.on_time, f"the testbed does not do what the twin says ({lateness}): {found}"
    return held


@pytest.mark.parametrize("transfer", ["emulated", "payload"])
def test_the_testbed_does_what_the_twin_says(tmp_path: Path, transfer: str) -> None:
    measured = []
    for attempt in range(ATTEMPTS):
        workplace, lateness = play(tmp_path / str(attempt), transfer)
        measured.append(str(lateness))
        found = parity(workplace)
        assert list(found) == [transfer]
        assert found[transfer]["tasks"] > 100
        if is_judged(found, lateness):
            break
    else:
        pytest.skip(f"this machine is too busy for real time: {'; '.join(measured)}")
    out = workplace.folder / "runs/small"
    assert json.loads((out / "results.json").read_text())["parity"] == found
    assert "Parity with the numeric twin" in (out / "report.html").read_text()
    disagrees(workplace, transfer)


def disagrees(workplace: Workplace, transfer: str) -> None:
    """Compare the run with a network whose nodes are a tenth faster: the test must notice the difference."""
    database = Database.connect(workplace.database_url)
    with database.transaction() as connection:
        connection.execute(sa.update(nodes).values(capacity_hz=1.1 * nodes.c.capacity_hz))
    database.close()
    found = parity(workplace)
    assert not found[transfer]["held"]
    with pytest.raises(AssertionError, match="does not do what the twin says"):
        is_judged(found, Lateness(0, 124, 0.001, 0.001))
    assert not is_judged(found, Lateness(20, 124, 0.001, 0.001))
    assert not is_judged(found, Lateness(0, 124, 0.03, 0.001))
    assert not is_judged(found, Lateness(0, 124, 0.001, 0.01))
