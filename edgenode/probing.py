"""Probes other nodes for their reports of a slot, all at once, over kept connections.

Concurrency: a `Prober` belongs to the decider thread alone. It needs no thread per probe: it sends all requests first,
then takes the answers as they become readable. It never waits for a single node, not even to connect.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgenode.reports import COUNTS, MEASURES, Report, Reservation
from middleware.http.access import OPEN, Access
from middleware.http.addressee import HEADER
from middleware.http.fanout import Fanout
from offload.protocols import Choice
from offload.state import LocalState, Reports

_logger = logging.getLogger(__name__)

_JSON: Final = "Content-Type: application/json\r\n"
_VALUES = tuple(name for name in MEASURES if name not in COUNTS)
_values, _counts = attrgetter(*_VALUES), attrgetter(*COUNTS)
_NO_VALUES, _NO_COUNTS = (np.inf, *(0.0 for _ in _VALUES)), tuple(0 for _ in COUNTS)
"""Of a node that did not answer."""


@dataclass(frozen=True)
class TimedReport:
    """Another node's report, and its response time in real seconds."""

    report: Report
    after_s: float


class Prober:
    """Probes the peers of one node.

    address_of: a node's current address; messages to the node find out that it has changed (`peers.py`)
    to: the addressee of a probe of a node (`middleware/http/addressee.py`)
    timeout_s: real seconds to wait for reports
    """

    def __init__(
        self, address_of: Callable[[int], str], to: Callable[[int], str], timeout_s: float, access: Access = OPEN
    ) -> None:
        self._address_of = address_of
        self.timeout_s = timeout_s
        # Idle connections are kept: a new one would delay the decision, and a closed one is noticed.
        self._fanout: Fanout[int] = Fanout(lambda node: {HEADER: to(node)}, access)
        self._malformed: set[int] = set()

    def connect(self, nodes: Sequence[int]) -> None:
        """Connect before the first probe. A node that cannot be reached now is tried again when it is probed."""
        self._fanout.connect({node: self._address_of(node) for node in nodes}, self.timeout_s)

    def ask(
        self,
        nodes: Sequence[int],
        episode: int,
        slot: int,
        enough: int | None,
        reservation: Reservation | None = None,
    ) -> dict[int, TimedReport]:
        """The reports that arrive within the time-out. With `enough`, only the first `enough` of them."""
        path = f"/v1/reports?episode={episode}&slot={slot}"
        if reservation is not None:
            path += f"&source={reservation.source}&cycles={reservation.cycles!r}"
        began = time.monotonic()
        for node in nodes:
            self._fanout.start(node, self._address_of(node), "GET", path)
        return self._reports(slot, began, len(nodes) if enough is None else min(enough, len(nodes)))

    def confirm(self, node: int, slot: int, announcement: Mapping[str, Any]) -> TimedReport | None:
        """Announce a task. Returns the node's work at this instant, or None without an answer within the time-out."""
        began = time.monotonic()
        content = json.dumps(announcement, separators=(",", ":")).encode("ascii")
        self._fanout.start(node, self._address_of(node), "POST", "/v1/confirmations", content, _JSON)
        return self._reports(slot, began, 1).get(node)

    def _reports(self, slot: int, began: float, wanted: int) -> dict[int, TimedReport]:
        """The first `wanted` answers of the nodes that were asked at `began`, within the time-out."""
        until = began + self.timeout_s
        reports: dict[int, TimedReport] = {}
        while self._fanout and len(reports) < wanted and (left := until - time.monotonic()) > 0:
            for node, outcome in self._fanout.finished(left):
                # A node that cannot be reached, or breaks the connection, gives no report.
                if not isinstance(outcome, OSError) and (report := self._report(node, slot, *outcome)) is not None:
                    reports[node] = TimedReport(report, time.monotonic() - began)
        self._fanout.forget_all()
        return reports

    def close(self) -> None:
        """Close all connections."""
        self._fanout.close()

    def _report(self, node: int, slot: int, status: int, content: bytes) -> Report | None:
        if status != 200:
            return None
        try:
            return Report.from_bytes(content, slot)
        except ValueError as malformed:
            if node not in self._malformed:
                self._malformed.add(node)
                _logger.warning(
                    "node %d at %s gives a malformed report, %s: %r",
                    node, self._address_of(node), malformed, content[:300],
                )  # fmt: skip
            return None


def reports_from(probed: Sequence[int], answers: Mapping[int, TimedReport], states: LocalState) -> Reports:
    """The answers as `Reports` (B = 1), in the order of the probes. This node's own report comes from its snapshot."""
    if not probed:
        return Reports.none(1)
    own = int(states.node[0])
    found = [TimedReport(Report.of(states), 0.0) if node == own else answers.get(node) for node in probed]
    # Two arrays of shape (quantities, 1, d) cost a fraction of one array per quantity.
    values = [_NO_VALUES if one is None else (one.after_s, *_values(one.report)) for one in found]
    after_s, *measured = np.array(values, np.float64).T[:, None]
    counts = np.array([_NO_COUNTS if one is None else _counts(one.report) for one in found], np.int64).T[:, None]
    return Reports(
        node=np.array([probed], np.int64),
        answered=np.array([[one is not None for one in found]]),
        answered_after_s=after_s,
        **dict(zip(_VALUES, measured, strict=True)),
        **dict(zip(COUNTS, counts, strict=True)),
    )


def replaced(reports: Reports, node: int, answer: TimedReport | None) -> Reports:
    """The reports (B = 1) with another answer of a node. Without an answer, its column is not answered.

    A node that was not probed has no column, so nothing changes.
    """
    columns = reports.node[0] == node
    changed = {"answered": np.where(columns, answer is not None, reports.answered)}
    if answer is not None:
        found = {"answered_after_s": answer.after_s, **{name: getattr(answer.report, name) for name in MEASURES}}
        changed |= {name: np.where(columns, value, getattr(reports, name)) for name, value in found.items()}
    return dataclasses.replace(reports, **changed)


def chosen_node(choice: Choice, nodes: int) -> int:
    """The destination of one decision. Raises ValueError if it cannot be carried out or recorded."""
    fault = choice.fault(1, nodes) if isinstance(choice, Choice) else f"choose() gave {type(choice).__name__}"
    if fault is not None:
        raise ValueError(f"its choice is invalid: {fault}")
    return int(choice.destination[0])


def probed_nodes(probes: NDArray[np.int64]) -> list[int]:
    """The nodes in one decision's row of `Scheduler.probes`, without the −1 entries, which mean none."""
    return [int(node) for node in probes[0] if node >= 0]
