"""Tests random requests to a controller and a node: no status 500, no dead process, and answers as described.

Schemathesis generates valid and invalid requests from the pods' OpenAPI descriptions, the same ones in every run.
"""

from __future__ import annotations

import copy
import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
import schemathesis
from credentials import TOKEN
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from controller.interface import OPERATIONS as CONTROLLERS
from edgenode.interface import OPERATIONS as NODES
from middleware.http import epoch
from middleware.http.access import OPEN_PATHS
from middleware.http.addressee import HEADER, addressee
from middleware.http.openapi import PATH, describe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OFTEN = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
EPOCH = {epoch.HEADER: "1"}
"""The epoch of a new database's first controller: rejections of other controllers are not tested here."""
NOT_FUZZED = r"^(/v1/link|/v1/serve)$"
"""Left out: an upgrade that ends HTTP on the connection, and continuous arrivals, which would keep the nodes busy."""
CHECKED = [check for check in CHECKS.get_all() if check not in (positive_data_acceptance, not_a_server_error)]
"""Two checks are left out: a valid request can be rejected because no episode is being played or a node is down."""

CONTROLLER = describe("offload-testbed: the controller", CONTROLLERS, secured=True, open_paths=OPEN_PATHS)
NODE = describe("offload-testbed: an edge node", NODES, secured=True, open_paths=OPEN_PATHS)


def with_the_addressee_given(description: dict) -> dict:
    """Requests have the right addressee: a node rejects one for another node before it checks anything else."""
    given = copy.deepcopy(description)
    for methods in given["paths"].values():
        for operation in methods.values():
            operation["parameters"] = [one for one in operation.get("parameters", ()) if one["name"] != HEADER]
    return given


controller_schema = schemathesis.openapi.from_dict(CONTROLLER).exclude(path_regex=NOT_FUZZED)
node_schema = schemathesis.openapi.from_dict(with_the_addressee_given(NODE)).exclude(path_regex=NOT_FUZZED)


def node_address(testbed) -> str:
    return testbed.call("GET", "/v1/status")[1]["nodes"][1]["address"]


@pytest.fixture(scope="session")
def one_node(guarded_testbed) -> str:
    return node_address(guarded_testbed)


@pytest.fixture(scope="session")
def to_that_node(guarded_testbed) -> dict[str, str]:
    """The headers of a request to this node."""
    return {**HEADERS, HEADER: addressee(guarded_testbed.opened.run.uid, 1)}


def test_what_is_fuzzed_is_what_they_serve(guarded_testbed) -> None:
    assert guarded_testbed.call("GET", PATH) == (200, CONTROLLER)
    guarded_testbed.address, back = node_address(guarded_testbed), guarded_testbed.address
    try:
        assert guarded_testbed.call("GET", PATH) == (200, NODE)
    finally:
        guarded_testbed.address = back


def no_failure(_context, response, _case) -> None:
    """503 means: send the same request again later. No other server error may occur."""
    assert response.status_code < 500 or response.status_code in (502, 503), response.text


@node_schema.parametrize()
@OFTEN
def test_a_node_withstands(case, one_node, to_that_node) -> None:
    case.call_and_validate(base_url=one_node, headers=to_that_node | EPOCH, checks=[*CHECKED, no_failure], timeout=30)


@pytest.mark.parametrize("to", ["", "x", "é" * 300, "0/1", f"{'0' * 32}/1", "a\tb"])
def test_a_node_withstands_whatever_the_addressee_is(one_node, to) -> None:
    place = urlsplit(one_node)
    connection = HTTPConnection(place.hostname, place.port, timeout=20)
    connection.request("POST", "/v1/ticks", b"{}", {**HEADERS, HEADER: to.encode("latin-1")})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["title"]) == (421, "Misdirected Request")
    connection.close()


@controller_schema.parametrize()
@OFTEN
def test_the_controller_withstands(case, guarded_testbed) -> None:
    case.call_and_validate(base_url=guarded_testbed.address, headers=HEADERS, checks=[*CHECKED, no_failure], timeout=60)


def test_all_of_that_left_the_testbed_whole(guarded_testbed) -> None:
    assert guarded_testbed.play()["verdict"] == "complete"
    logs = list((guarded_testbed.folder / "pods" / "logs").glob("*.log"))
    assert len(logs) == 4
    for log in logs:
        text = log.read_text()
        assert "Traceback" not in text, text[text.index("Traceback") :][:3000]
        assert text.count(" answers at ") == 1, f"{log.name}: its process was restarted"
