"""Injects pod failures: kills edge-node pods through the Kubernetes API, at the instants of a Poisson process.

These failures come in addition to the failures of the model. The episode handles ticks that a dead pod does not answer.

Concurrency: one thread, which sleeps until the next killing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping

from controller.pods import NodePods
from middleware.errors import ServiceError
from offload.settings import SettingsError

_HOUR_S = 3600.0

_logger = logging.getLogger(__name__)


class Killings:
    """Kills pods, one at a time. Each pod is killed `per_hour` times per hour on average, independent of the others.

    nodes: the number of nodes, N
    recorded: called after each killing, with the node and the pod's name
    """

    def __init__(
        self, pods: NodePods, nodes: int, per_hour: float, seed: int, recorded: Callable[[int, str], None]
    ) -> None:
        self._pods, self._nodes, self._recorded = pods, nodes, recorded
        self._rate = nodes * per_hour / _HOUR_S
        self._draws = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._kill_on, name="killings", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        _logger.warning("failure injection: a pod is killed every %.0f s on average", 1 / self._rate)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. Waits up to 1 s for a killing in progress."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def _kill_on(self) -> None:
        while not self._stopping.wait(self._draws.expovariate(self._rate)):
            node = self._draws.randrange(self._nodes)
            try:
                pod = self._pods.kill(node)
            except ServiceError as error:
                _logger.warning("failure injection: %s", error)
                continue
            if pod is None:
                continue  # the pod is down already
            _logger.warning("failure injection: killed pod %s of node %d", pod, node)
            self._recorded(node, pod)


def killings_per_hour(environment: Mapping[str, str]) -> float:
    """`OFFLOAD_KILLINGS_PER_HOUR`: killings per pod and hour, 0 for none. Raises SettingsError."""
    text = environment.get("OFFLOAD_KILLINGS_PER_HOUR", "0")
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= _HOUR_S:
        raise SettingsError(f"OFFLOAD_KILLINGS_PER_HOUR={text!r} must be a number from 0 to {_HOUR_S:.0f}")
    return rate
