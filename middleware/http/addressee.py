"""For which edge node a request is.

A node that was restarted may answer at an address where another node answered before. So every request between pods
that goes to a node names the one that it means, in the header `Offload-To: RUN/NODE`: the run's uid and the node's
index. A node refuses what is meant for another one with status 421 (RFC 9110, section 15.5.20), before it looks at
anything else. The sender looks the address up again. What people and their tools ask (status, a kubelet's probes,
metrics) needs no such header.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = "Offload-To"
ENVIRON: Final = "HTTP_OFFLOAD_TO"
"""The header's name in a WSGI environment."""
MISDIRECTED: Final = 421
PATTERN: Final = r"^[0-9a-f]{32}/[0-9]{1,4}$"


def addressee(run_uid: str, node: int) -> str:
    """The header's value for a node of a run."""
    return f"{run_uid}/{node}"
