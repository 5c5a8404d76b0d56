"""Defines the HTTP header with the epoch of the controller's lease (`middleware/database/leases.py`)."""

from __future__ import annotations

from typing import Final

HEADER: Final = "Offload-Epoch"
ENVIRON: Final = "HTTP_OFFLOAD_EPOCH"
"""The name of the header in a WSGI environment."""
