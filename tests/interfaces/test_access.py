"""Who does not know the token, or has no certificate of the authority's, gets nothing; who does notices no difference."""

from __future__ import annotations

import base64
import json
import ssl
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import TOKEN, certificates
from testbed import Testbed

from middleware.access import OPEN, Access, guarded
from offload.settings import SettingsError


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def ask(address: str, method: str, path: str, authorization: str | None = None, body: bytes | None = None):
    """(status, headers, body) of a request without TLS."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request(method, path, body, {} if authorization is None else {"Authorization": authorization})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("authorization", "browser", "allowed"),
    [
        (f"Bearer {TOKEN}", False, True),
        (f"bearer {TOKEN}", False, True),
        (f"Bearer {TOKEN}x", False, False),
        (f"Bearer {TOKEN[:-1]}", False, False),
        ("Bearer ", False, False),
        ("Bearer é", False, False),
        (TOKEN, False, False),
        (None, False, False),
        (None, True, False),
        (basic(TOKEN), True, True),
        (basic(TOKEN), False, False),
        (basic("wrong"), True, False),
        ("Basic %%%", True, False),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), True, False),
    ],
)
def test_the_token_and_nothing_like_it_is_accepted(authorization, browser, allowed) -> None:
    assert Access(TOKEN).allows(authorization, browser) is allowed
    assert OPEN.allows(authorization, browser)


def test_a_token_is_never_shown() -> None:
    assert TOKEN not in repr(Access(TOKEN))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"OFFLOAD_TOKEN": "short"}, "OFFLOAD_TOKEN: a token has at least 16"),
        ({"OFFLOAD_TOKEN": "with spaces in between"}, "no spaces"),
        ({"OFFLOAD_TOKEN": "ééééééééééééééééééé"}, "ASCII"),
        ({"OFFLOAD_TOKEN": ""}, "OFFLOAD_TOKEN: the secret is empty"),
        ({"OFFLOAD_TOKEN": TOKEN, "OFFLOAD_TOKEN_FILE": "x"}, "both set"),
        ({"OFFLOAD_TOKEN_FILE": "/nowhere"}, "OFFLOAD_TOKEN_FILE=/nowhere: cannot be read: No such file"),
        ({"OFFLOAD_TLS_KEY": "/nowhere"}, "OFFLOAD_TLS_CERTIFICATE is not set"),
        (dict.fromkeys(("OFFLOAD_TLS_CERTIFICATE", "OFFLOAD_TLS_KEY", "OFFLOAD_TLS_AUTHORITY"), __file__), "cannot be"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(environment, reason) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        Access.read(environment)
    assert TOKEN not in str(refused.value)
    assert not isinstance(refused.value, SettingsError)


def test_a_token_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert Access.read({"OFFLOAD_TOKEN_FILE": str(tmp_path / "token")}).token == TOKEN
    assert Access.read({}) == OPEN


def test_without_a_token_nothing_stands_in_the_way() -> None:
    def app(environ, start_response):
        return [b""]

    assert guarded(app, OPEN) is app


@pytest.mark.slow
def test_controller_and_nodes_need_the_token_but_for_the_probes(guarded_testbed: Testbed) -> None:
    node = guarded_testbed.call("GET", "/v1/status")[1]["nodes"][0]["address"]
    for address in (guarded_testbed.address, node):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert ask(address, "GET", path)[0] == 200
        for wrong in (None, f"Bearer {TOKEN}x"):
            status, headers, body = ask(address, "GET", "/v1/status", wrong)
            assert (status, json.loads(body)["status"]) == (401, 401)
            assert headers["WWW-Authenticate"].startswith("Basic ")
        status, headers, _ = ask(address, "POST", "/v1/episodes", basic(TOKEN), b"{}")
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), "a password of a browser's changes nothing"
        assert ask(address, "POST", "/v1/episodes", f"Bearer {TOKEN}", b"{}")[0] == 422
    assert ask(node, "POST", "/v1/ticks", None, b"{}")[0] == 401
    assert ask(node, "GET", "/v1/link")[0] == 401
    status, _, page = ask(guarded_testbed.address, "GET", "/", basic(TOKEN))
    assert status == 200
    assert b"<!doctype html>" in page
    assert ask(guarded_testbed.address, "GET", "/")[0] == 401
    logs = guarded_testbed.folder / "pods" / "logs"
    assert TOKEN not in "".join(log.read_text() for log in logs.glob("*.log"))


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "which"), [(64 * 1024, 0), (32 * 1024 * 1024, None)], ids=["node", "controller"])
def test_a_body_that_is_too_long_is_refused_unread(guarded_testbed: Testbed, limit: int, which: int | None) -> None:
    address = guarded_testbed.address
    if which is not None:
        address = guarded_testbed.call("GET", "/v1/status")[1]["nodes"][which]["address"]
    for path in ("/v1/episodes", "/v1/ticks") if which is not None else ("/v1/episodes",):
        connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Length", str(limit + 1))
        connection.endheaders(b"{")
        assert connection.getresponse().status == 413
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["emulated", "payload"])
def test_behind_tls_everything_works_and_strangers_get_nothing(tmp_path: Path, transfer: str) -> None:
    environment = certificates(tmp_path / "ours") | {"OFFLOAD_TOKEN": TOKEN}
    with Testbed(tmp_path, {"node": {"transfer": transfer}}, environment=environment) as testbed:
        assert testbed.address.startswith("https://")
        assert testbed.play()["verdict"] == "complete"
        state = testbed.play(method="random", scheduler="random")
        assert state["verdict"] == "complete"
        assert state["successes"] > 0
        node = testbed.call("GET", "/v1/status")[1]["nodes"][0]["address"]
        assert node.startswith("https://")
        stranger = Access.read(certificates(tmp_path / "another") | {"OFFLOAD_TOKEN": TOKEN})
        for address in (testbed.address, node):
            connection = stranger.connection(address, 20)
            with pytest.raises(ssl.SSLCertVerificationError):
                connection.request("GET", "/healthz")
            assert plain(address) is None, "HTTP without TLS is not answered"
        with testbed.opened.database.reading() as connection:
            moved = connection.exec_driver_sql(
                "SELECT COUNT(*) FROM outcomes WHERE destination <> source AND outcome = 'success'"
            ).scalar_one()
        assert moved > 0, "no task went over a link"


def plain(address: str) -> int | None:
    """The status of a request without TLS; None where there is no answer."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
