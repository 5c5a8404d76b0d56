"""Defines the HTTP header that names the edge node for which a request is.

A restarted node may answer at the former address of another node. So every request from a pod to a node has the header
`Offload-To: RUN/NODE`, with the run's uid and the node's index. A node first checks this header, and refuses a request
for another node with status 421 (RFC 9110, section 15.5.20). The sender then looks the address up again. Requests of
users and their tools (status, a kubelet's probes, metrics) need no such header.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = "Offload-To"
ENVIRON: Final = "HTTP_OFFLOAD_TO"
"""The name of the header in a WSGI environment."""
MISDIRECTED: Final = 421
PATTERN: Final = r"^[0-9a-f]{32}/[0-9]{1,4}$"


def addressee(run_uid: str, node: int) -> str:
    """The header's value for a node of a run."""
    return f"{run_uid}/{node}"
