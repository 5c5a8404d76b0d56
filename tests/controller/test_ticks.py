"""Tests that every reachable node gets each of its ticks, also if other nodes are slow or dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from small_node import Node, Unreachable, free_port

from controller.nodes import NodeClients
from controller.ticks import Ticks

pytestmark = pytest.mark.alone
SLOT_S = 0.05


@contextmanager
def ticks_to(
    addresses: Mapping[int, str],
    *servers: Node | Unreachable,
    address_now: Callable[[int], str | None] = lambda _: None,
) -> Iterator[Ticks]:
    clients = NodeClients(addresses, "0" * 32)

    def opening(node: int, address: str) -> dict[str, Any]:
        return {"opened": node, "at": address}

    try:
        yield Ticks(clients, address_now, opening)
    finally:
        clients.close()
        for server in servers:
            server.close()


def play(ticks: Ticks, nodes: int, slots: range) -> None:
    for slot in slots:
        ticks.put(slot, {node: {"slot": slot} for node in range(nodes)})
        ticks.serve_until(time.monotonic() + SLOT_S)


def test_a_slow_node_gets_all_ticks_in_order_and_delays_no_other():
    quick, slow = Node(), Node(delay_s=0.2)
    with ticks_to({0: quick.address, 1: slow.address}, quick, slow) as ticks:
        play(ticks, 2, range(8))
        assert [body["slot"] for body in quick.asked] == list(range(8))
        assert len(slow.asked) < 8
        assert ticks.finish(30.0) == {}
        assert [body["slot"] for body in slow.asked] == list(range(8))


def late_slots(ticks: Ticks, nodes: Iterable[int], slots: int) -> int:
    """How many of the slots are put at least a whole slot after their instant."""
    began, late = time.monotonic(), 0
    for slot in range(slots):
        late += time.monotonic() - began > (slot + 1) * SLOT_S
        ticks.put(slot, {node: {"slot": slot} for node in nodes})
        ticks.serve_until(began + (slot + 1) * SLOT_S)
    return late


def test_unreachable_nodes_delay_nobodys_ticks():
    """Regression: each connection to one took a second of the player thread, so other nodes' ticks were slots late."""
    quick = Node()
    unreachable = [Unreachable() for _ in range(3)]
    addresses = {0: unreachable[0].address, 1: quick.address, 2: unreachable[1].address, 3: unreachable[2].address}
    with ticks_to(addresses, quick, *unreachable) as ticks:
        assert late_slots(ticks, addresses, 40) <= 8, "a busy machine makes some late, not most"
        assert [body["slot"] for body in quick.asked] == list(range(40))
        assert ticks.finish(5.0) == {node: list(range(40)) for node in (0, 2, 3)}


def test_a_node_that_halts_amid_its_answer_delays_nobodys_ticks():
    """A frozen machine may stop in the middle of an answer."""
    quick, halting = Node(), Node(halts_s=1.9)
    with ticks_to({0: halting.address, 1: quick.address}, quick, halting) as ticks:
        assert late_slots(ticks, (0, 1), 40) <= 8
        assert [body["slot"] for body in quick.asked] == list(range(40))


def test_a_dead_node_is_down_until_it_is_back_at_another_address():
    quick, successor = Node(), Node()
    ready: list[str] = []
    addresses = {0: quick.address, 1: f"http://127.0.0.1:{free_port()}"}
    with ticks_to(addresses, quick, successor, address_now=lambda _: ready[0] if ready else None) as ticks:
        play(ticks, 2, range(3))
        ready.append(successor.address)
        until = time.monotonic() + 30
        while not successor.asked:
            assert time.monotonic() < until
            ticks.serve_until(time.monotonic() + SLOT_S)
        ticks.serve_until(time.monotonic() + 0.5)
        play(ticks, 2, range(3, 6))
        assert ticks.finish(30.0) == {1: [0, 1, 2]}
    assert successor.asked[0] == {"opened": 1, "at": successor.address}
    assert [body["slot"] for body in successor.asked[1:]] == [3, 4, 5]
    assert [body["slot"] for body in quick.asked] == list(range(6))


def test_a_node_that_refuses_its_ticks_is_opened_again():
    confused = Node(status=409)
    with ticks_to({0: confused.address}, confused, address_now=lambda _: confused.address) as ticks:
        play(ticks, 1, range(1))
        until = time.monotonic() + 30
        while not any("opened" in body for body in confused.asked):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert ticks.finish(5.0) == {0: [0]}


def test_nothing_is_sent_after_the_end_to_a_node_that_hung():
    quick, hung = Node(), Node(delay_s=1.5)
    with ticks_to({0: quick.address, 1: hung.address}, quick, hung) as ticks:
        play(ticks, 2, range(4))
        assert ticks.finish(0.1) == {1: [0, 1, 2, 3]}
        time.sleep(2.0)
        assert [body["slot"] for body in hung.asked] == [0]


def test_invalid_tick_is_refused_and_does_not_reopen_the_episode():
    """Regression: the controller opened the episode there repeatedly; it was complete, with all of its tasks lost."""
    sound, refusing = Node(), Node(status=422)
    asked: list[int] = []

    def address_now(node: int) -> str | None:
        asked.append(node)
        return refusing.address

    with ticks_to({0: sound.address, 1: refusing.address}, sound, refusing, address_now=address_now) as ticks:
        play(ticks, 2, range(3))
        assert ticks.refused is not None
        assert ticks.refused.startswith("slot 0: ")
        assert "its own message" in ticks.refused
        assert asked == []
