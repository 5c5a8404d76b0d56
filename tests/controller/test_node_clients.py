"""Requests to all nodes at once: one that is dead or slow must cost nobody else a tick."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from small_node import Node, free_port

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


def test_a_dead_and_a_slow_node_do_not_keep_the_others_from_their_ticks():
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
            # The request may fall between the server's close and our notice of it: then the next one must succeed.
            tries = [clients.ask("POST", "/", {0: {"n": number}}, 5.0)[0].ok for _ in range(2)]
            assert any(tries)


def test_a_refusal_is_told_in_the_nodes_own_words():
    node = Node(status=409)
    with nodes(node) as clients:
        answer = clients.ask("POST", "/v1/episodes", {0: {}}, 5.0)[0]
    assert not answer.ok
    assert (answer.status, answer.detail) == (409, "its own words")
