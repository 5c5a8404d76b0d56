"""Errors that keep an edge node from answering a request. `http/problems.py` makes problem documents of them."""

from __future__ import annotations


class WrongEpisode(RuntimeError):
    """A request belongs to an episode that is not this node's current one. The message names both."""


class AlreadyTicked(RuntimeError):
    """The slot has been ticked before."""


class Unsettled(RuntimeError):
    """Not settled yet: some decisions are not recorded, or the loop thread is too busy to answer. Retry."""


class ProbeTimeout(RuntimeError):
    """The node's own tick of the slot did not arrive in time."""
