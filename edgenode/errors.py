"""Why an edge node cannot answer a request about an episode. `http.py` makes problem documents of them."""

from __future__ import annotations


class WrongEpisode(RuntimeError):
    """A request of an episode that this node is not playing; the message names both."""


class AlreadyTicked(RuntimeError):
    """A second tick of a slot."""


class Unsettled(RuntimeError):
    """Not settled yet: some decisions are not recorded, or the loop thread is too busy to answer. Retry."""


class ProbeTimeout(RuntimeError):
    """The node's own tick of the slot did not come in time."""
