"""Watches the edge nodes' pods through the Kubernetes API, and kills a pod on request.

The registry has the nodes' addresses. The Kubernetes API shows whether a pod exists, and why it does not work. While
the API is unavailable, the last known state stays. No episode waits for the API.

Concurrency: one thread lists and watches the pods. It replaces `_seen` as a whole, and any thread may read `_seen`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.interface import Pod
from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.extras import require_extra
from middleware.outages import OutageLog
from offload.settings import SettingsError

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_ORDINAL = re.compile(r"-(\d+)$")
_WATCH_S = 60
_CONNECT_S, _ANSWER_S = 3.0, 10.0
_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0
_GONE = 410
_BUSY = (408, 409, 429)
"""Statuses of refusals that are temporary."""

_logger = logging.getLogger(__name__)


class NodePods:
    """The pods of a namespace that match a label selector. A pod's ordinal is its node's index."""

    def __init__(self, api: CoreV1Api, namespace: str, selector: str) -> None:
        self._api, self._namespace, self._selector = api, namespace, selector
        self._seen: Mapping[int, Pod] = {}
        self._stopping = threading.Event()
        self._outage = OutageLog(_logger, "the Kubernetes API")
        self._thread = threading.Thread(target=self._watch_all, name="pods", daemon=True)

    @classmethod
    def of_cluster(cls, environment: Mapping[str, str]) -> NodePods:
        """The node pods of the cluster that this process runs in. `OFFLOAD_PODS` is the label selector.

        Raises SettingsError outside a cluster, or if the selector is missing.
        """
        require_extra("kubernetes", "kubernetes", "--fleet kubernetes")
        from kubernetes import client, config

        selector = environment.get("OFFLOAD_PODS", "")
        if not selector:
            raise SettingsError("OFFLOAD_PODS is not set; set it to a label selector of the edge nodes' pods")
        chosen = client.Configuration()
        chosen.proxy = None  # a proxy in the environment is for addresses outside the cluster
        try:
            config.load_incluster_config(chosen)
            namespace = _NAMESPACE_FILE.read_text().strip()
        except (config.ConfigException, OSError) as error:
            raise SettingsError(f"--fleet kubernetes needs a pod with a service account's token: {error}") from None
        return cls(client.CoreV1Api(client.ApiClient(chosen)), namespace, selector)

    def start(self) -> None:
        """Start the watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch. Does not wait for a pending request to the API."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=0.2)

    def seen(self) -> Mapping[int, Pod]:
        """The last known state of the pods, by node index."""
        return self._seen

    def kill(self, node: int) -> str | None:
        """Kill a node's pod immediately, like a crash. Returns the pod's name; None if there is no pod.

        Raises ServiceUnavailable if the API is unavailable, ServiceRefused if it refuses.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        pod = self._seen.get(node)
        if pod is None or pod.leaving:
            return None
        try:
            self._api.delete_namespaced_pod(
                pod.name, self._namespace, grace_period_seconds=0, _request_timeout=(_CONNECT_S, _ANSWER_S)
            )
        except ApiException as error:
            if error.status == 404:
                return None
            kind = ServiceUnavailable if error.status in _BUSY or error.status >= 500 else ServiceRefused
            raise kind(f"the Kubernetes API: pod {pod.name} cannot be killed: {error.status} {error.reason}") from None
        except HTTPError as error:
            message = f"the Kubernetes API: pod {pod.name} cannot be killed: {type(error).__name__}"
            raise ServiceUnavailable(message) from None
        return pod.name

    def _watch_all(self) -> None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        pause_s = _RETRY_S
        while not self._stopping.is_set():
            try:
                self._watch_once()
                pause_s = _RETRY_S
                continue
            except ApiException as error:
                if error.status == _GONE:  # the resource version is too old to continue from; list again
                    continue
                self._outage.failed(f"{error.status} {error.reason}")
            except (HTTPError, OSError) as error:
                self._outage.failed(type(error).__name__)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    def _watch_once(self) -> None:
        """List the pods, then follow their changes for `_WATCH_S`."""
        from kubernetes import watch

        chosen = {"namespace": self._namespace, "label_selector": self._selector}
        listed = self._api.list_namespaced_pod(**chosen, _request_timeout=(_CONNECT_S, _ANSWER_S))
        self._outage.answered()
        self._seen = {node: described(pod) for pod in listed.items if (node := ordinal(pod.metadata.name)) is not None}
        for event in watch.Watch().stream(
            self._api.list_namespaced_pod,
            **chosen,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=_WATCH_S,
            _request_timeout=(_CONNECT_S, _WATCH_S + _ANSWER_S),
        ):
            if self._stopping.is_set():
                return
            self._outage.answered()
            pod = event["object"]
            node = ordinal(pod.metadata.name)
            if node is not None:
                rest = {other: one for other, one in self._seen.items() if other != node}
                self._seen = rest if event["type"] == "DELETED" else {**rest, node: described(pod)}


def ordinal(name: str) -> int | None:
    """A node's index from its pod's name; None if the name has none."""
    found = _ORDINAL.search(name)
    return int(found[1]) if found else None


def described(pod: Any) -> Pod:
    """Convert a pod of the Kubernetes API.

    The reason is why the pod does not run, or why it ended last, as Kubernetes reports it; None if there is no problem.
    """
    status = pod.status
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    conditions = {one.type: one for one in status.conditions or []}
    return Pod(
        name=pod.metadata.name,
        phase=status.phase or "Unknown",
        ready="Ready" in conditions and conditions["Ready"].status == "True",
        leaving=pod.metadata.deletion_timestamp is not None,
        restarts=sum(one.restart_count for one in status.container_statuses or []),
        machine=pod.spec.node_name,
        reason=_reason(conditions, containers),
    )


def _reason(conditions: Mapping[str, Any], containers: list[Any]) -> str | None:
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status != "True":
        return f"{scheduled.reason}: {scheduled.message}"
    finders: tuple[Callable[[Any], Any], ...] = (
        lambda one: one.state.waiting if one.state else None,
        lambda one: one.last_state.terminated if one.last_state else None,
    )
    for found in finders:
        for container in containers:
            state = found(container)
            if state is not None and state.reason not in (None, "PodInitializing", "Completed"):
                return f"{container.name}: {state.reason}"
    return None
