"""Tests requests to all nodes at once: a dead or slow node must not delay the ticks of the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from small_node import Node, Unreachable, free_port

from controller.nodes import NodeClients


@contextmanager
def nodes(*made: Node) -> Iterator[NodeClients]:
    clients = NodeClients({index: node.address for index, node in enumerate(made)}, "0" * 32)
    try:
        yield clients
    finally:
        clients.close()
        for node in made:
            node.close()


def test_dead_and_slow_nodes_do_not_delay_other_ticks():
    first, slow, last = Node(), Node(delay_s=3.0), Node()
    with nodes(first, slow, last) as clients:
        clients.addresses[3] = f"http://127.0.0.1:{free_port()}"
        for slot in range(3):
            answers = clients.ask("POST", "/v1/ticks", {node: {"slot": slot} for node in (3, 1, 0, 2)}, 0.3)
            assert {node: answer.status for node, answer in answers.items()} == {0: 202, 1: 504, 2: 202, 3: 0}
            assert "did not answer" in answers[1].detail
            assert "cannot be reached" in answers[3].detail
        for node in (first, slow, last):
            assert [body["slot"] for body in node.asked] == [0, 1, 2]


def test_a_late_answer_is_not_taken_for_that_of_the_next_request():
    node = Node(delay_s=0.4)
    with nodes(node) as clients:
        assert clients.ask("POST", "/", {0: {"n": 1}}, 0.1)[0].status == 504
        node.delay_s = 0.0
        time.sleep(0.5)
        assert clients.ask("POST", "/", {0: {"n": 2}}, 5.0)[0].body["heard"] == {"n": 2}


def test_connections_are_kept_from_tick_to_tick():
    node = Node()
    with nodes(node) as clients:
        for slot in range(20):
            assert clients.ask("POST", "/v1/ticks", {0: {"slot": slot}}, 5.0)[0].ok
    assert len(node.connections) == 1


def test_a_node_whose_server_closed_the_connection_is_reached_again():
    node = Node(closes=True)
    with nodes(node) as clients:
        for number in range(3):
            assert clients.ask("POST", "/", {0: {"n": number}}, 5.0)[0].ok
            time.sleep(0.2)  # until its close is known here


def test_refusal_has_the_nodes_own_message():
    node = Node(status=409)
    with nodes(node) as clients:
        answer = clients.ask("POST", "/v1/episodes", {0: {}}, 5.0)[0]
    assert not answer.ok
    assert (answer.status, answer.detail) == (409, "its own message")


def test_unreachable_nodes_are_waited_for_together():
    """Regression: opening, start, drain and close waited for each of them in turn, one second each."""
    unreachable = [Unreachable() for _ in range(6)]
    node = Node()
    clients = NodeClients({index: one.address for index, one in enumerate([*unreachable, node])}, "0" * 32)
    began = time.monotonic()
    answers = clients.ask("POST", "/v1/episodes", {index: {} for index in range(7)}, 10.0)
    took_s = time.monotonic() - began
    assert {index: answer.status for index, answer in answers.items()} == {**dict.fromkeys(range(6), 0), 6: 202}
    assert "cannot be reached" in answers[0].detail
    assert took_s < 4.0, "six unreachable nodes, at most one second for all of them"
    clients.close()
    for one in (*unreachable, node):
        one.close()


def test_what_is_larger_than_the_sockets_buffers_arrives():
    node = Node()
    with nodes(node) as clients:
        body = {"text": "x" * 20_000_000}
        assert clients.ask("POST", "/", {0: body}, 30.0)[0].body["heard"] == body


@pytest.mark.parametrize("answer", [b"[1]", b"null", b'"text"', b"{broken", b"\xff\xfe"])
def test_answer_that_is_not_an_object_is_not_the_nodes(answer: bytes):
    """Regression: `answer.body.get` raised in the player thread, which ended the controller."""
    node = Node(answer=answer)
    with nodes(node) as clients:
        found = clients.ask("POST", "/v1/status", {0: {}}, 5.0)[0]
        assert (found.status, found.body.get("pending")) == (0, None)
        assert f"node 0 at {node.address}" in found.detail and "malformed" in found.detail
        assert "POST /v1/status" in found.detail
