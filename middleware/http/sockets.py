"""Ends connections between pods: by the kernel if the other end is lost, and by another thread of this process."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

_SETTINGS: Final = (
    ("TCP_KEEPIDLE", 10),  # idle seconds before the kernel sends the first keepalive probe
    ("TCP_KEEPINTVL", 2),  # seconds between two probes
    ("TCP_KEEPCNT", 3),  # number of unanswered probes after which the kernel closes the connection
    ("TCP_USER_TIMEOUT", 15_000),  # milliseconds for which sent data may stay unacknowledged
)


def end_with_the_other(connection: socket.socket) -> None:
    """Make the kernel close a connection within about 16 s after its other end is lost.

    A machine that loses its power or its network does not close its connections. By default, Linux detects this after
    two hours on an idle connection, and after 15 minutes on a busy one. A system without one of these options keeps its
    default.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SETTINGS:
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def shut_down(connection: socket.socket, how: int) -> None:
    """End the wait of another thread that uses this connection, with or without TLS. `how`: as in `socket.shutdown`.

    Any thread may call this. `SSLSocket.shutdown` would remove the TLS state first. The other thread could then raise
    ValueError, or continue without TLS.
    """
    with suppress(OSError):
        socket.socket.shutdown(connection, how)
