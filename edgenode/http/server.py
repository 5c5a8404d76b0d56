"""The node's server, on which a connection may become a link."""

from __future__ import annotations

from collections.abc import Callable

from middleware.http.access import Access
from middleware.http.server import PodConnection, PodServer
from middleware.registry import bound

_LONGEST_BODY = 64 * 1024


class LinkConnection(PodConnection):
    """One that has become a link leaves its worker thread, and is no more served as HTTP."""

    becomes_link: Callable[[], None] | None = None

    def communicate(self) -> bool:
        """In a worker: read a request and answer it. False when the worker is done with the connection."""
        more = super().communicate()
        if self.becomes_link is None:
            return more
        self.becomes_link()
        return False

    def close(self) -> None:
        """By the server, which has nothing more to do with a link."""
        if self.becomes_link is None:
            self.end()

    def end(self) -> None:
        """Close the connection, also one that is a link."""
        super().close()


def node_server(bind: str, threads: int, access: Access) -> PodServer:
    """A node's server, on which connections may become links. Raises SettingsError for an impossible `bind`."""
    return PodServer(*bound(bind), threads, _LONGEST_BODY, access, LinkConnection)
