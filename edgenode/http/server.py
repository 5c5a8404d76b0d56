"""The node's HTTP server, whose connections can become links."""

from __future__ import annotations

from collections.abc import Callable

from middleware.http.access import Access
from middleware.http.address import bound
from middleware.http.server import PodConnection, PodServer

_LONGEST_BODY = 64 * 1024


class LinkConnection(PodConnection):
    """A connection that can become a link. It then leaves its worker thread and serves no more HTTP."""

    becomes_link: Callable[[], None] | None = None

    def communicate(self) -> bool:
        """In a worker thread: read a request and answer it. Returns False if the worker is done with the connection."""
        more = super().communicate()
        if self.becomes_link is None:
            return more
        self.becomes_link()
        return False

    def close(self) -> None:
        """Called by the server when it releases the connection. A link stays open."""
        if self.becomes_link is None:
            self.end()

    def end(self) -> None:
        """Close the connection, even if it is a link."""
        super().close()


def node_server(bind: str, threads: int, access: Access) -> PodServer:
    """Make a node's server, whose connections can become links. Raises SettingsError for an invalid `bind`."""
    return PodServer(*bound(bind), threads, _LONGEST_BODY, access, LinkConnection)
