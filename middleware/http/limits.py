"""Defines the limits of requests between pods, which all clients share."""

from __future__ import annotations

from typing import Final

ACCEPT_S: Final = 1.0
"""A pod of this machine or cluster that does not accept a connection within this many real seconds is down."""
KEPT_S: Final = 20.0
"""A kept connection that was idle for more real seconds is replaced before the next request. Servers close idle
connections after a minute (`server.py`), and a request at that moment is lost."""
LONGEST_HEAD: Final = 64 * 1024
"""Maximum bytes of an answer's head."""
LONGEST_BODY: Final = 64 * 1024 * 1024
"""Maximum bytes of an answer's body."""
