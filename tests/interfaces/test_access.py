"""Tests token and TLS: requests without the token are rejected, and so are pods without the authority's certificate."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from credentials import TOKEN, certificates
from testbed import Testbed

from middleware.http.access import OPEN, Access, guarded
from middleware.http.addressee import HEADER, addressee
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
        ("Basic é", True, False),
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
    assert isinstance(refused.value, SettingsError), "it would end in a traceback"


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
        status, _, body = ask(address, "POST", "/v1/episodes", f"Bearer {TOKEN}", b"{}")
        wanted = (400, "Offload-To") if address == node else (422, "phase")
        assert (status, wanted[1] in json.loads(body)["detail"]) == (wanted[0], True), body
    assert ask(node, "POST", "/v1/ticks", None, b"{}")[0] == 401
    assert ask(node, "GET", "/v1/link")[0] == 401
    status, _, page = ask(guarded_testbed.address, "GET", "/", basic(TOKEN))
    assert status == 200
    assert b"<!doctype html>" in page
    assert ask(guarded_testbed.address, "GET", "/")[0] == 401
    logs = guarded_testbed.folder / "pods" / "logs"
    assert TOKEN not in "".join(log.read_text() for log in logs.glob("*.log"))


REFUSED_UNREAD = [
    (["Content-Length: {too_long}"], 413),
    (["Content-Length: -1"], 400),
    (["Content-Length: +1"], 400),
    (["Content-Length: many"], 400),
    (["Transfer-Encoding: chunked"], 411),
    (["Transfer-Encoding: gzip"], 501),
    (["X: " + "x" * 20_000], 413),
]


@pytest.mark.slow
@pytest.mark.parametrize(("headers", "status"), REFUSED_UNREAD, ids=[headers[0][:24] for headers, _ in REFUSED_UNREAD])
def test_what_has_no_bounds_is_refused_unread_with_a_problem(guarded_testbed: Testbed, headers, status) -> None:
    node = guarded_testbed.call("GET", "/v1/status")[1]["nodes"][0]["address"]
    for address, path, longest in (
        (guarded_testbed.address, "/v1/episodes", 32 * 1024 * 1024),
        (node, "/v1/episodes", 64 * 1024),
        (node, "/v1/ticks", 64 * 1024),
    ):
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port), 20) as made:
            lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}"]
            lines += [header.format(too_long=longest + 1) for header in headers]
            made.sendall("\r\n".join([*lines, "", "{"]).encode())
            answer = b""
            while part := made.recv(65536):
                answer += part
                if b"}" in answer:
                    break
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status
    assert guarded_testbed.call("GET", "/v1/status")[0] == 200


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
            place = urlsplit(address)
            silent = [socket.create_connection((place.hostname, place.port)) for _ in range(40)]
            quick = testbed.access.connection(address, 5)
            quick.request("GET", "/healthz")
            assert quick.getresponse().status == 200, "those who say nothing hold up the others"
            quick.close()
            for one in silent:
                one.close()
            connection = stranger.connection(address, 20)
            with pytest.raises(ssl.SSLCertVerificationError):
                connection.request("GET", "/healthz")
            assert plain(address) is None, "HTTP without TLS is not answered"
        links = [testbed.access.connection(node, 10) for _ in range(60)]
        for link in links:
            upgrade = {"Connection": "Upgrade", "Upgrade": "offload-link"}
            upgrade[HEADER] = addressee(testbed.opened.run.uid, 0)
            link.request("GET", "/v1/link?episode=99999&source=1", headers=testbed.access.headers() | upgrade)
            assert link.getresponse().status == 101
        assert testbed.play()["verdict"] == "complete", "links on which nothing comes hold up the node"
        for link in links:
            link.close()
        with testbed.opened.database.reading() as connection:
            moved = connection.exec_driver_sql(
                "SELECT COUNT(*) FROM outcomes WHERE destination <> source AND outcome = 'success'"
            ).scalar_one()
        assert moved > 0, "no task went over a link"


def plain(address: str) -> int | None:
    """The status of a request without TLS; None if there is no answer."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
