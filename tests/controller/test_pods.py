"""Tests the controller's view of the nodes' pods, against an API server that misbehaves.

A real API server cannot be made to misbehave in these ways; tests/cluster uses a real one.
"""

from __future__ import annotations

import json
import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from proxies import CLOSED_PROXIES

from controller.killings import Killings, killings_per_hour
from controller.pods import NodePods
from middleware.errors import ServiceRefused, ServiceUnavailable

kubernetes = pytest.importorskip("kubernetes")


def pod(name: str, *, ready: bool = True, restarts: int = 0, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "7"},
        "spec": {"nodeName": "worker", "containers": []},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [
                {"name": "node", "restartCount": restarts, "ready": ready, "image": "i", "imageID": "i", "state": {}}
            ],
            **status,
        },
    }


class Api:
    """Lists `pods`. A watch gets what is put into `events`, and breaks at None. `statuses` are answered first."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.events: queue.Queue[Any] = queue.Queue()
        self.statuses: list[int] = []
        self.asked: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.asked.append(self.path)
                if api.statuses:
                    self._answer(api.statuses.pop(0), {"message": "no"})
                elif "watch=True" in self.path:
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    while (event := api.events.get()) is not None:
                        line = json.dumps(event).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self._answer(200, {"metadata": {"resourceVersion": "7"}, "items": api.pods})

            def do_DELETE(self) -> None:
                api.asked.append(self.path)
                self._answer(api.statuses.pop(0) if api.statuses else 200, {})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def client(self) -> Any:
        configuration = kubernetes.client.Configuration(host=f"http://127.0.0.1:{self.server.server_port}")
        configuration.retries = False
        return kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))


def test_the_api_is_not_asked_through_a_proxy(api: Api, tmp_path, monkeypatch) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    api.server.socket = context.wrap_socket(api.server.socket, server_side=True)
    for name in ("token", "namespace"):
        (tmp_path / name).write_text("space")
    monkeypatch.setattr(kubernetes.config.incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(kubernetes.config.incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr("controller.pods._NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.server.server_port))
    for name, value in CLOSED_PROXIES.items():
        monkeypatch.setenv(name, value)
    api.pods = [pod("node-1")]
    of_cluster = NodePods.of_cluster({"OFFLOAD_PODS": "app=node"})
    of_cluster.start()
    until(lambda: 1 in of_cluster.seen())
    of_cluster.stop()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.events.put(None)
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pods(api: Api) -> Iterator[NodePods]:
    made = NodePods(api.client(), "space", "app=node")
    yield made
    made.stop()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_pods_are_listed_and_followed(api: Api, pods: NodePods):
    api.pods = [pod("tb-node-0"), pod("tb-node-1", ready=False, restarts=2)]
    pods.start()
    until(lambda: len(pods.seen()) == 2)
    assert "labelSelector=app%3Dnode" in api.asked[0]
    assert (pods.seen()[1].ready, pods.seen()[1].restarts, pods.seen()[0].machine) == (False, 2, "worker")
    api.events.put({"type": "MODIFIED", "object": pod("tb-node-1")})
    until(lambda: pods.seen()[1].ready)
    api.events.put({"type": "DELETED", "object": pod("tb-node-0")})
    until(lambda: 0 not in pods.seen())
    api.events.put({"type": "ADDED", "object": pod("tb-node-10")})
    until(lambda: set(pods.seen()) == {1, 10})


def test_api_outage_is_logged_once_and_pods_stay_known(api: Api, pods: NodePods, caplog: Any):
    api.pods = [pod("tb-node-0")]
    pods.start()
    until(lambda: set(pods.seen()) == {0})
    api.statuses = [503, 500, 403]
    api.pods = [pod("tb-node-0"), pod("tb-node-1")]
    api.events.put(None)  # the watch breaks
    until(lambda: not api.statuses)
    assert set(pods.seen()) == {0}
    until(lambda: set(pods.seen()) == {0, 1})
    messages = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message.partition(" (")[0].partition(" after")[0] for message in messages] == [
        "the Kubernetes API: unavailable",
        "the Kubernetes API: available again",
    ]


def test_a_watch_whose_place_is_too_old_lists_again(api: Api, pods: NodePods, caplog: Any):
    api.pods = [pod("tb-node-0")]
    pods.start()
    until(lambda: set(pods.seen()) == {0})
    api.pods = [pod("tb-node-3")]
    gone = {"kind": "Status", "code": 410, "message": "too old resource version", "reason": "Gone"}
    api.events.put({"type": "ERROR", "object": gone})
    until(lambda: set(pods.seen()) == {3})
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
                ]
            },
            "Unschedulable: no room",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "node",
                        "restartCount": 0,
                        "ready": False,
                        "image": "i",
                        "imageID": "i",
                        "state": {"waiting": {"reason": "ImagePullBackOff"}},
                    }
                ]
            },
            "node: ImagePullBackOff",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "node",
                        "restartCount": 1,
                        "ready": True,
                        "image": "i",
                        "imageID": "i",
                        "state": {"running": {}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
            "node: OOMKilled",
        ),
        ({}, None),
    ],
)  # fmt: skip
def test_pod_reason_is_the_one_that_kubernetes_reports(
    api: Api, pods: NodePods, status: dict[str, Any], reason: str | None
):
    api.pods = [pod("tb-node-0", **status)]
    pods.start()
    until(lambda: 0 in pods.seen())
    assert pods.seen()[0].reason == reason


def test_a_pod_is_killed_at_once_and_one_that_is_not_there_is_not(api: Api, pods: NodePods):
    api.pods = [
        pod("tb-node-0"),
        {**pod("tb-node-1"), "metadata": {"name": "tb-node-1", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ]
    pods.start()
    until(lambda: len(pods.seen()) == 2)
    assert pods.kill(0) == "tb-node-0"
    # Not the last request: the watch may have begun meanwhile.
    assert any("/namespaces/space/pods/tb-node-0?gracePeriodSeconds=0" in asked for asked in api.asked)
    assert pods.kill(1) is None, "it is leaving"
    assert pods.kill(2) is None
    api.statuses = [404]
    assert pods.kill(0) is None
    api.statuses = [403]
    with pytest.raises(ServiceRefused, match="pod tb-node-0 cannot be killed: 403"):
        pods.kill(0)
    for status in (429, 500):
        api.statuses = [status]
        with pytest.raises(ServiceUnavailable, match=f"pod tb-node-0 cannot be killed: {status}"):
            pods.kill(0)


def test_outside_of_a_cluster_it_is_said_what_is_missing():
    with pytest.raises(ValueError, match="OFFLOAD_PODS is not set"):
        NodePods.of_cluster({})
    with pytest.raises(ValueError, match="needs a pod with a service account's token"):
        NodePods.of_cluster({"OFFLOAD_PODS": "app=node"})


class _Counted:
    """Pods that record which were killed."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def kill(self, node: int) -> str | None:
        self.killed.append(node)
        if node == 1:
            raise ServiceUnavailable("pod tb-node-1 cannot be killed: 500")
        return None if node == 2 else f"tb-node-{node}"


def test_pod_kills_follow_their_rate_and_are_recorded():
    pods, recorded = _Counted(), []
    killings = Killings(pods, 4, 3600.0 * 50, 1, lambda node, name: recorded.append((node, name)))  # type: ignore[arg-type]
    killings.start()
    until(lambda: len(pods.killed) >= 200)
    killings.stop()
    counts = [pods.killed.count(node) for node in range(4)]
    assert min(counts) > 20, counts
    assert {name for _, name in recorded} == {"tb-node-0", "tb-node-3"}, "neither refused nor absent ones"


@pytest.mark.parametrize("text", ["often", "-1", "1e9", "nan"])
def test_an_impossible_rate_is_refused(text: str):
    with pytest.raises(ValueError, match="OFFLOAD_KILLINGS_PER_HOUR"):
        killings_per_hour({"OFFLOAD_KILLINGS_PER_HOUR": text})
