"""Failures of whole pods, beside those of the model: a Poisson process kills edge-node pods through Kubernetes' API.

Concurrency: one thread, which sleeps until the next killing. A tick that a dead pod does not answer is the episode's
own affair.
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
    """Kills one pod after the other, each at `per_hour` on average and independent of the others.

    nodes: N; recorded: called with the node and its pod's name after each killing
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
        """Begin."""
        _logger.warning("failure injection: a pod is killed every %.0f s on average", 1 / self._rate)
        self._thread.start()

    def stop(self) -> None:
        """End; one that is being carried out is finished, or given up."""
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
                continue  # it is down already: a second failure changes nothing
            _logger.warning("failure injection: pod %s of node %d is killed", pod, node)
            self._recorded(node, pod)


def killings_per_hour(environment: Mapping[str, str]) -> float:
    """`OFFLOAD_KILLINGS_PER_HOUR`: of each pod, 0 for none. Raises SettingsError."""
    text = environment.get("OFFLOAD_KILLINGS_PER_HOUR", "0")
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= _HOUR_S:
        raise SettingsError(f"OFFLOAD_KILLINGS_PER_HOUR={text!r}: a number is needed, 0 to {_HOUR_S:.0f}")
    return rate
