"""The largest numbers that the testbed accepts, in SI units.

Settings, the files of tasks and networks, and the pods' interfaces share these limits. They lie far above the values of
real systems, and far below the values at which 64-bit arithmetic overflows or loses precision.
"""

from __future__ import annotations

from typing import Final

MAX_SLOTS: Final = 100_000
"""Slots of a trace: its arrays must fit into memory."""
MAX_EPISODE: Final = 0xFFFFFFFF
"""Number of a trace: the keys of draws have 32-bit numbers."""
MOST_BITS: Final = 1e15
"""Size of a task."""
MOST_CYCLES: Final = 1e18
"""Cycles of a task."""
MOST_PER_S: Final = 1e18
"""Capacities (cycles/s), transmission rates (bit/s) and failure rates (failures/s)."""
LONGEST_DEADLINE_S: Final = 1e9
"""Thirty years have the effect of no deadline. Instants are still exact to a tenth of a microsecond."""
LONGEST_SLOT_S: Final = 1e6
LONGEST_TIMEOUT_S: Final = 3600.0
"""Time-out of a request to another pod, and interval between two deliveries of records."""
SHORTEST_TIMEOUT_S: Final = 1e-4
