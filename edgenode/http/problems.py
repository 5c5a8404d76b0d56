"""Translates a node's errors into problem details."""

from __future__ import annotations

import logging

from edgenode.activation import ActivationError, RevisionLate
from edgenode.errors import AlreadyTicked, ProbeTimeout, Unsettled, WrongEpisode
from edgenode.outbox import OutboxError
from middleware.http.problems import HTTPProblem, common_problem

_logger = logging.getLogger(__name__)


def explain(error: Exception, path: str) -> HTTPProblem:
    """Translate any error into a problem. One that the caller did not cause is logged."""
    common = common_problem(error)
    if common is not None:
        return common
    for kind, status, title in (
        (WrongEpisode, 409, "Wrong episode"),
        (AlreadyTicked, 409, "Already ticked"),
        (ActivationError, 424, "Revision refused"),
        (RevisionLate, 503, "Revision not available yet"),
        (OutboxError, 503, "Records not delivered yet"),
        (ProbeTimeout, 503, "No snapshot"),
        (Unsettled, 503, "Not settled yet"),
    ):
        if isinstance(error, kind):
            return HTTPProblem(status, title, str(error))
    _logger.error("%s failed", path, exc_info=error)
    return HTTPProblem(500, "Internal error", "the node's log has the details")
