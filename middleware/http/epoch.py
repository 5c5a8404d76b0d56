"""The HTTP header in which a controller's requests carry the epoch of its lease (`middleware/database/leases.py`)."""

from __future__ import annotations

from typing import Final

HEADER: Final = "Offload-Epoch"
ENVIRON: Final = "HTTP_OFFLOAD_EPOCH"
"""The same in a WSGI environment."""
