"""Connects `offload run --attach` to a controller that is already running: a pod, or `offload serve`."""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Self

from commands.local import ControllerFailed, OpenRun
from middleware.errors import ServiceError
from middleware.http.access import Access
from middleware.registry import CONTROLLER
from middleware.retrying import log_refusal
from trainer.controller_client import ControllerClient, ControllerError

_WAIT_LIMIT_S = 300.0
_RETRY_S = 0.5
_GIVING_BACK_S = 10.0

_logger = logging.getLogger(__name__)


class AttachedController:
    """The controller of a run that another process started. The registry gives its current address.

    The pipeline ends the controller's continuous arrivals. Use this class as a context manager: at its end, a
    controller that was started for continuous arrivals begins them again. If this process is killed before, they stay
    ended; the same command resumes the run and begins them again at its end.
    """

    takes_over = True

    def __init__(self, opened: OpenRun) -> None:
        self._opened = opened

    def address(self) -> str:
        """The current address of the controller. Waits until it is ready. Raises ControllerFailed."""
        return self._found(_WAIT_LIMIT_S)

    def _found(self, limit_s: float) -> str:
        run, until = self._opened.run.name, time.monotonic() + limit_s
        while True:
            try:
                for one in self._opened.registry.instances(CONTROLLER, run):
                    if one.alive() and one.metadata.get("ready"):
                        return one.address
            except ServiceError as error:
                log_refusal(error, "looking for the controller")
            if time.monotonic() > until:
                raise ControllerFailed(
                    f"no controller of the run '{run}' is ready after {limit_s:g} s; "
                    "is it running, and in the same registry?"
                )
            time.sleep(_RETRY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A short wait: a user who pressed Ctrl-C because the controller does not answer wants the command to end.
        access = Access.read(os.environ)
        client = ControllerClient(lambda: self._found(_GIVING_BACK_S), absence_s=_GIVING_BACK_S, access=access)
        try:
            if client.status()["continuously"]:
                client.begin_continuous()
        except (ControllerError, ControllerFailed) as trouble:
            _logger.warning("continuous arrivals were not begun again (%s); POST /v1/serve begins them", trouble)
