"""Tests the addresses at which servers listen and are reached, with IPv4 and IPv6."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.nodes import NodeClients
from edgenode.interface import OpenEpisode
from middleware.http.access import Access
from middleware.http.address import bound, loopback_beside, reachable_address
from middleware.http.server import PodServer
from middleware.http.wire import Wire
from middleware.nacos import NacosServer, _host_port
from middleware.registry import Instance, Registry, open_registry


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6: nothing can listen at ::1")


def answer(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(environ["HTTP_HOST"])))])
    return [environ["HTTP_HOST"].encode()]


@pytest.fixture
def serve():
    servers = []

    def start(bind: str) -> PodServer:
        server = PodServer(*bound(bind), 2, 1000)
        server.start(answer)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@needs_ipv6
def test_a_server_on_the_ipv6_loopback_is_reached_by_every_client(serve) -> None:
    address = serve("[::1]:0").address
    place = address.removeprefix("http://")
    assert place.startswith("[::1]:")
    wire = Wire(address, "0" * 32, 5)
    wire.send("GET", "/")
    assert wire.receive() == (200, place.encode()), "HTTP wants the brackets in Host"
    wire.close()
    connection = Access().connection(address, 5)
    connection.request("GET", "/")
    assert connection.getresponse().read().decode() == place
    connection.close()
    clients = NodeClients({0: address}, "0" * 32)
    # The answer is the address at which the node was reached; it is not a JSON object.
    assert place in clients.ask("GET", "/", {0: None}, 5)[0].detail
    clients.close()
    opened = {
        "episode": 1,
        "episode_uid": "0" * 32,
        "trace": 0,
        "controller": address,
        "revision": 1,
        "peers": [address],
    }
    assert OpenEpisode.model_validate_json(json.dumps(opened)).peers == [address]


@needs_ipv6
def test_everywhere_is_reached_by_both(serve) -> None:
    server = serve("[::]:0")
    port = int(server.address.rpartition(":")[2])
    for host in ("127.0.0.1", "::1"):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    assert "::]" not in server.address, "others cannot connect to 'everywhere'"


def test_everywhere_is_ipv4_where_the_kernel_has_no_ipv6(serve, monkeypatch) -> None:
    real = socket.socket

    class Without(real):
        def __init__(self, family=socket.AF_INET, *rest, **options):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **options)

    monkeypatch.setattr(socket, "socket", Without)
    assert bound("[::]:8080") == ("0.0.0.0", 8080)
    port = int(serve("[::]:0").address.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("bind", "found"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        (":8080", ("0.0.0.0", 8080)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:0", ("::1", 0)),
        ("[0:0:0:0:0:0:0:1]:5", ("::1", 5)),
    ],
)
def test_what_may_be_bound(bind: str, found: tuple[str, int]) -> None:
    assert bound(bind) == found


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("8080", "write host:port or \\[IPv6\\]:port"),
        ("[::1]", "write host:port or \\[IPv6\\]:port"),
        ("127.0.0.1:70000", "write host:port or \\[IPv6\\]:port"),
        ("::1:8080", "in brackets, as \\[::1\\]:8080"),
        ("127.0.0.1:²", "write host:port or \\[IPv6\\]:port"),
        ("127.0.0.1:" + "9" * 5000, "write host:port or \\[IPv6\\]:port"),
        ("x..y:80", "x..y cannot be resolved"),
        ("a" * 64 + ".org:80", "cannot be resolved"),
        ("\udcff:80", "cannot be resolved"),
        ("[::g]:80", "cannot be resolved"),
        ("nowhere.invalid:80", "cannot be resolved"),
        ("[fe80::1]:80", "on one link only"),
    ],
)
def test_what_may_not_be_bound_says_why(bind: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"OFFLOAD_BIND=.*{expected}"):
        bound(bind)


def test_an_ipv6_address_is_registered_in_brackets() -> None:
    assert reachable_address("fd00::7", 80) == "http://[fd00::7]:80"
    assert reachable_address("10.0.0.7", 80, "https") == "https://10.0.0.7:80"


def test_a_machine_that_has_ipv6_alone_is_reached_by_it(monkeypatch) -> None:
    def resolve(name, port, family=0, *rest):
        if family == socket.AF_INET:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::7", 0, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert reachable_address("::", 8080) == "http://[fd00::7]:8080"
    with pytest.raises(ValueError, match="cannot be resolved"):
        reachable_address("0.0.0.0", 8080)


def test_local_nodes_are_on_the_loopback_of_their_controllers_family() -> None:
    assert loopback_beside("[::1]:0") == "[::1]:0"
    assert [loopback_beside(bind) for bind in ("127.0.0.1:0", "0.0.0.0:8080", "[::]:8080")] == ["127.0.0.1:0"] * 3


@pytest.fixture(params=["database", pytest.param("nacos", marks=pytest.mark.nacos)])
def registry(request: pytest.FixtureRequest, db) -> Registry:
    url = request.getfixturevalue("nacos_url") if request.param == "nacos" else "database:"
    return open_registry(url, db)


def test_an_ipv6_address_comes_back_from_the_registry(registry: Registry) -> None:
    address = "https://[fd00::1:7]:8080"
    instance = Instance("edgenode", "3", "r", address, {}, time.time())
    registry.register(instance)
    registry.heartbeat(dataclasses.replace(instance, metadata={"revision": 2}))
    (found,) = registry.instances("edgenode", "r")
    assert (found.address, found.metadata) == (address, {"revision": 2})
    registry.deregister(found)
    assert registry.instances("edgenode", "r") == []


def test_nacos_servers_are_taken_apart() -> None:
    given = ["h", "h:1", "10.0.0.1:2", "[::1]", "[::1]:3"]
    assert [_host_port(one) for one in given] == [("h", 8848), ("h", 1), ("10.0.0.1", 2), ("[::1]", 8848), ("[::1]", 3)]


@needs_ipv6
def test_a_nacos_server_is_reached_by_ipv6() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "9.9"}')

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"nacos://[::1]:{server.server_port}"
        assert NacosServer(url, "registry").version() == "Nacos 9.9"
        server.shutdown()


def test_a_pods_server_needs_no_database() -> None:
    """It imported the registry, and with it SQLAlchemy, to parse an address."""
    program = "import sys, middleware.http.server; sys.exit('sqlalchemy' in sys.modules)"
    root = str(Path(__file__).resolve().parents[2])
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}, check=True, timeout=120)
