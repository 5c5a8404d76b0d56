"""The largest numbers that the testbed takes, in SI units. Settings, files of tasks and networks, and the pods' interfaces share them.

They are far beyond what anybody builds, and far from where arithmetic ends.
"""

from __future__ import annotations

from typing import Final

MAX_SLOTS: Final = 100_000
"""Of a trace: its arrays must fit into memory."""
MAX_EPISODE: Final = 0xFFFFFFFF
"""Of a trace's number: the draws are keyed by 32-bit numbers."""
MOST_BITS: Final = 1e15
"""Of a task."""
MOST_CYCLES: Final = 1e18
"""Of a task."""
MOST_PER_S: Final = 1e18
"""Of capacities (cycles/s), transmission rates (bit/s) and failure rates (failures/s)."""
LONGEST_DEADLINE_S: Final = 1e9
"""Thirty years are as good as no deadline, and instants are still exact to a tenth of a microsecond."""
LONGEST_SLOT_S: Final = 1e6
LONGEST_TIMEOUT_S: Final = 3600.0
"""Of a wait for another pod, and between two deliveries of records."""
SHORTEST_TIMEOUT_S: Final = 1e-4
