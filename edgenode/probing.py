"""Probes: asking other nodes for their reports of a slot, all at once, over connections that are kept.

Concurrency: a `Prober` belongs to the decider thread alone. No thread per probe: all requests are sent first, then the
answers are taken as they become readable. It never waits for a single node, not even to connect.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from middleware.http.access import OPEN, Access
from middleware.http.addressee import HEADER
from middleware.http.fanout import Fanout
from middleware.http.openapi import LARGEST
from offload.protocols import Choice
from offload.state import LocalState, Reports

_COLUMNS: Final = ("capacity_hz", "failure_rate", "execution_queue_length", "execution_backlog_s", "receiving_work_s")
_LENGTH: Final = "execution_queue_length"
Report = Mapping[str, Any]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A report as the other node gave it, and after how many real seconds."""

    report: Report
    after_s: float


class Prober:
    """Asks the peers of one node.

    address_of: where a node answers now; that it has moved is found out by the messages to it (`peers.py`)
    to: whom a probe of a node is for (`middleware/http/addressee.py`)
    """

    def __init__(
        self, address_of: Callable[[int], str], to: Callable[[int], str], timeout_s: float, access: Access = OPEN
    ) -> None:
        self._address_of = address_of
        self._timeout_s = timeout_s
        # However long a connection was idle: to replace it would delay the decision, and one that has ended is noticed.
        self._fanout: Fanout[int] = Fanout(lambda node: {HEADER: to(node)}, access)
        self._malformed: set[int] = set()

    def connect(self, nodes: Sequence[int]) -> None:
        """Connect ahead of the first question; a node that cannot be reached now is tried again when it is asked."""
        self._fanout.connect({node: self._address_of(node) for node in nodes}, self._timeout_s)

    def ask(self, nodes: Sequence[int], episode: int, slot: int, enough: int | None) -> dict[int, Answer]:
        """The answers of the nodes that gave one within the time-out, or of the first `enough` of them."""
        path = f"/v1/reports?episode={episode}&slot={slot}"
        began = time.monotonic()
        until = began + self._timeout_s
        wanted = len(nodes) if enough is None else min(enough, len(nodes))
        answers: dict[int, Answer] = {}
        for node in nodes:
            self._fanout.start(node, self._address_of(node), "GET", path)
        while self._fanout and len(answers) < wanted and (left := until - time.monotonic()) > 0:
            for node, outcome in self._fanout.finished(left):
                # One that cannot be reached, or broke off, is one that gives no answer.
                if not isinstance(outcome, OSError) and (report := self._report(node, slot, *outcome)) is not None:
                    answers[node] = Answer(report, time.monotonic() - began)
        self._fanout.forget_all()
        return answers

    def close(self) -> None:
        """Close all connections."""
        self._fanout.close()

    def _report(self, node: int, slot: int, status: int, content: bytes) -> Report | None:
        if status != 200:
            return None
        try:
            return report_in(content, slot)
        except ValueError as malformed:
            if node not in self._malformed:
                self._malformed.add(node)
                _logger.warning(
                    "node %d at %s gives a malformed report, %s: %r",
                    node, self._address_of(node), malformed, content[:300],
                )  # fmt: skip
            return None


def report_in(content: bytes, slot: int) -> Report:
    """A report of this slot, as docs/contracts.md has it. Raises ValueError naming what is wrong."""
    try:
        report = json.loads(content)
    except ValueError:
        raise ValueError("no JSON") from None
    if not isinstance(report, dict):
        raise ValueError("no object")
    if report.get("slot") != slot:
        raise ValueError(f"slot: {report.get('slot')!r} instead of {slot}")
    for name in _COLUMNS:
        value: Any = report.get(name)
        # No bool, which is an integer; NaN fails both comparisons.
        if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
            raise ValueError(f"{name}: {value!r} is no number of 0 or more")
    if type(length := report[_LENGTH]) is not int or length > LARGEST:
        raise ValueError(f"{_LENGTH}: {length!r} is no number of tasks")
    return report


def reports_from(probed: Sequence[int], answers: Mapping[int, Answer], states: LocalState) -> Reports:
    """The answers as `Reports` (B = 1), in the order of the probes; the deciding node's own comes from its snapshot."""
    own = int(states.node[0])
    reports = Reports.none(1, len(probed))
    for column, node in enumerate(probed):
        reports.node[0, column] = node
        if node == own:
            reports.answered[0, column] = True
            reports.answered_after_s[0, column] = 0.0
            for name in _COLUMNS:
                getattr(reports, name)[0, column] = getattr(states, name)[0]
        elif node in answers:
            reports.answered[0, column] = True
            reports.answered_after_s[0, column] = answers[node].after_s
            for name in _COLUMNS:
                getattr(reports, name)[0, column] = answers[node].report[name]
    return reports


def chosen_node(choice: Choice, nodes: int) -> int:
    """The destination of one decision. Raises ValueError for one that cannot be carried out or recorded."""
    fault = choice.fault(1, nodes) if isinstance(choice, Choice) else f"choose() gave {type(choice).__name__}"
    if fault is not None:
        raise ValueError(f"its choice cannot be taken: {fault}")
    return int(choice.destination[0])


def probed_nodes(probes: NDArray[np.int64]) -> list[int]:
    """The nodes of one decision's row of `Scheduler.probes`, without the −1 that mean none."""
    return [int(node) for node in probes[0] if node >= 0]
