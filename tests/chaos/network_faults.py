"""Defines faults of the network between pods, by iptables in a separate network namespace (made by `campaign.py`)."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fault import Fault

from middleware.http.addressee import HEADER

if TYPE_CHECKING:
    from scene import Scene

_VANISHED_PEERS = 12


@contextlib.contextmanager
def _rules(*rules: str) -> Iterator[None]:
    """Append rules such as `-t nat OUTPUT -p tcp …`, and delete them at the end.

    A rule's chain is its first word after an optional table.
    """
    added = []
    try:
        for rule in rules:
            parts = rule.split()
            place = 2 if parts[0] == "-t" else 0
            added.append((parts[:place], parts[place:]))
            subprocess.run(["iptables", *parts[:place], "-A", *parts[place:]], check=True, capture_output=True)
        yield
    finally:
        for table, rest in added:
            subprocess.run(["iptables", *table, "-D", *rest], check=True, capture_output=True)


def _ports(scene: Scene) -> list[int]:
    """The ports of the edge nodes, by node."""
    return [int(urlsplit(address).port or 0) for _, address in sorted(scene.node_addresses().items())]


def _addresses_swapped(scene: Scene, draw: Random) -> None:
    # The other node answers requests to one node's address, as after two restarts that swapped the addresses and that
    # the sender has not noticed. Existing connections stay; those of the next episode are new.
    one, other = draw.sample(_ports(scene), 2)
    redirect = "-t nat OUTPUT -p tcp -d 127.0.0.1 --dport {} -j REDIRECT --to-ports {}"
    with _rules(redirect.format(one, other), redirect.format(other, one)):
        time.sleep(draw.uniform(3.0, 6.0))


def _node_unreachable(scene: Scene, draw: Random) -> None:
    port = draw.choice(_ports(scene))
    with _rules(f"INPUT -p tcp --dport {port} -j DROP"):
        time.sleep(draw.uniform(2.0, 5.0))


def _silent_link(scene: Scene, node: int, source: int, address: str) -> socket.socket | None:
    """A link to a node on which nothing is ever sent; None if the run is over."""
    parts = urlsplit(address)
    assert parts.hostname is not None and parts.port is not None
    while (episode := scene.open_episode()) is not None:
        peer = socket.create_connection((parts.hostname, parts.port), 5)
        head = f"Host: {parts.netloc}\r\n{HEADER}: {scene.addressee(node)}\r\n"
        upgrade = "Connection: Upgrade\r\nUpgrade: offload-link\r\n"
        path = f"/v1/link?episode={episode}&source={source}"
        peer.sendall(f"GET {path} HTTP/1.1\r\n{head}{upgrade}\r\n".encode())
        answer = peer.recv(4096)
        if b" 101 " in answer:
            return peer
        assert b" 409 " in answer, answer  # the episode has just ended
        peer.close()
    return None


def _peers_vanish(scene: Scene, draw: Random) -> None:
    # Each has opened a link. Then the packets are dropped: no FIN, and no answer to the kernel's keepalive probes.
    addresses = scene.node_addresses()
    links = [
        _silent_link(scene, node, (node + 1) % len(addresses), address)
        for node, address in sorted(addresses.items())
        for _ in range(_VANISHED_PEERS)
    ]
    silent = [link for link in links if link is not None]
    with _rules(*(f"OUTPUT -p tcp --sport {peer.getsockname()[1]} -j DROP" for peer in silent)):
        time.sleep(draw.uniform(4.0, 8.0))
        for peer in silent:
            peer.close()  # the packets of the close are dropped


FAULTS = (
    Fault(
        "addresses-swapped",
        "the addresses of two edge nodes swapped for 3 to 6 s",
        None,
        _addresses_swapped,
        network=True,
    ),
    Fault("node-unreachable", "an edge node unreachable for 2 to 5 s", None, _node_unreachable, network=True),
    Fault(
        "peers-vanish",
        f"{_VANISHED_PEERS} peers of each node disappear with open links",
        None,
        _peers_vanish,
        unharmed=True,
        network=True,
    ),
)
