"""Tests that the OpenAPI descriptions of the pods contain exactly the routes that exist."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from controller.http.app import make_app
from controller.interface import OPERATIONS as CONTROLLERS
from edgenode.http.app import NodeApp
from edgenode.interface import OPERATIONS as NODES
from middleware.http.access import OPEN, OPEN_PATHS
from middleware.http.openapi import describe
from offload.network import draw_network
from offload.settings import Settings

HELD = {"HEAD", "OPTIONS"}


def routes(flask) -> set[tuple[str, str]]:
    """(method, path) of the routes of a Flask application, with paths in OpenAPI's notation."""
    import re

    return {
        (method, re.sub(r"<(?:[^<>:]*:)?(\w+)>", r"{\1}", rule.rule))
        for rule in flask.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in rule.methods - HELD
    }


def described(operations) -> set[tuple[str, str]]:
    return {(one.method, one.path) for one in operations}


def test_the_controllers_description_is_its_routes() -> None:
    assert routes(make_app(SimpleNamespace())) == described(CONTROLLERS)


def test_a_nodes_description_is_its_routes() -> None:
    settings = Settings()
    network = draw_network(settings.network, 1)
    identity = SimpleNamespace(network=network, node=0, settings=settings, access=OPEN, addressee=str)
    node = SimpleNamespace(identity=identity)
    app = NodeApp(node, opener=None, metrics=None, fence=None)
    assert routes(app._flask) | set(app._frequent) == described(NODES)


@pytest.mark.parametrize("operations", [NODES, CONTROLLERS], ids=["node", "controller"])
def test_every_operation_but_the_probes_needs_the_token_where_there_is_one(operations) -> None:
    described = describe("t", operations, secured=True, open_paths=OPEN_PATHS)
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in OPEN_PATHS), path
            assert ("401" in operation["responses"]) == (path not in OPEN_PATHS), path
    assert "security" not in str(describe("t", operations, secured=False, open_paths=OPEN_PATHS))
