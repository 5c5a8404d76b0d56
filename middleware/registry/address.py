"""Where other pods reach a server that listens here."""

from __future__ import annotations

import socket

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


def reachable_address(host: str, port: int, scheme: str = "http") -> str:
    """`scheme://host:port` of a listening socket. One that listens everywhere is reached by this machine's own address,
    which in a pod is the pod's.

    Raises ValueError where this machine's name has no address.
    """
    if host in _EVERYWHERE:
        try:
            host = socket.gethostbyname(socket.gethostname())
        except OSError as error:
            raise ValueError(
                f"OFFLOAD_BIND: {host}:{port} is everywhere, and '{socket.gethostname()}' has no address: {error}; "
                "bind to the address by which the others reach this machine"
            ) from None
    return f"{scheme}://{host}:{port}"
