"""Faults of the controller and of the database's contents: a frozen controller, an empty database, lost answers."""

from __future__ import annotations

import os
import signal
import socket
import time
from random import Random
from typing import TYPE_CHECKING

import sqlalchemy as sa
from fault import Fault
from forwarder import Forwarder

if TYPE_CHECKING:
    from scene import Scene


def _controller_stutters(scene: Scene, draw: Random) -> None:
    # The instants include those between two status requests of a round that asks which tasks nodes still own.
    pid = scene.processes("commands.controller")[0]
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(draw.uniform(0.002, 0.02))
        os.kill(pid, signal.SIGCONT)
        time.sleep(draw.uniform(0.002, 0.03))


def _begun_anew(scene: Scene, draw: Random) -> None:
    scene.kill_all()
    scene.empty_database()
    scene.start()


class _LosesAnswers(Forwarder):
    """A forwarder to MariaDB. While `losing`, it breaks a connection after a COMMIT was sent and before its answer."""

    losing = False
    lost = 0

    def pass_on(self, content: bytes, sink: socket.socket) -> None:
        """Forward the content. While `losing`, break the connection after a COMMIT."""
        super().pass_on(content, sink)
        if self.losing and content.endswith(b"\x03COMMIT"):
            time.sleep(0.05)  # the server executes it
            self.lost += 1
            raise OSError("lost on purpose")


def _put_forwarder_between(scene: Scene) -> None:
    url = sa.make_url(scene.servers.mariadb.url)
    assert url.host is not None and url.port is not None
    scene.forwarder = _LosesAnswers(url.host, url.port)
    scene.reach_database_at(scene.forwarder.port)


def _answers_to_commit_lost(scene: Scene, draw: Random) -> None:
    forwarder = scene.forwarder
    assert isinstance(forwarder, _LosesAnswers)
    until = time.monotonic() + 6.0
    while time.monotonic() < until:
        forwarder.losing = True
        time.sleep(draw.uniform(0.02, 0.3))
        forwarder.losing = False
        time.sleep(draw.uniform(0.1, 0.8))
    assert forwarder.lost, "no answer to COMMIT was lost"


FAULTS = (
    Fault(
        "controller-stutters",
        "the controller frozen repeatedly for 2 to 20 ms, for 5 s",
        None,
        _controller_stutters,
        unharmed=True,
    ),
    Fault(
        "begun-anew",
        "all processes killed, then the run started under the same name with an empty database",
        None,
        _begun_anew,
    ),
    Fault(
        "answers-lost",
        "the database's answers to COMMIT dropped repeatedly, for 6 s",
        "the database",
        _answers_to_commit_lost,
        prepare=_put_forwarder_between,
        repeated=True,
    ),
)
