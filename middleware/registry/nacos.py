"""`nacos://…`: instances as ephemeral instances of the Nacos services `offload-<service>`.

Nacos itself finds out after some fifteen seconds that an instance is gone. What counts here is the heartbeat's instant in the
metadata, as in the table: a node that died is known to be dead after `MAX_AGE_S`. The clocks of all machines are assumed to
agree within a second or two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from middleware.nacos import NacosServer
from middleware.registry.port import Instance

_OURS = "offload"
"""The one metadata key that we use: Nacos' values are texts."""


class NacosRegistry:
    """See `middleware.registry.port.Registry`. Every method raises ServiceAway when Nacos is away."""

    def __init__(self, url: str) -> None:
        self._server = NacosServer(url, "registry")

    def register(self, instance: Instance) -> None:
        """See `Registry.register`."""
        for old in self._find(instance.service, instance.instance, instance.run):
            if old.address != instance.address:
                self._remove(old)
        host, port = _host_port(instance.address)
        name, group, metadata = _service(instance.service), self._server.group, _packed(instance)

        def enter(client: Any) -> None:
            client.add_naming_instance(
                name, host, port, cluster_name="DEFAULT", metadata=metadata, ephemeral=True, group_name=group
            )
            # r-nacos leaves an address that it knows the metadata of the process that was there before.
            client.modify_naming_instance(name, host, port, cluster_name="DEFAULT", metadata=metadata, group_name=group)

        self._server.call(f"registering {instance.service} {instance.instance}", enter)

    def heartbeat(self, service: str, instance: str, run: str, metadata: Mapping[str, Any]) -> None:
        """See `Registry.heartbeat`."""
        found = self._find(service, instance, run)
        if not found:
            raise LookupError(f"{service} {instance} of run '{run}' is not registered")
        known = found[-1]
        now = Instance(service, instance, run, known.address, metadata, known.started_at, time.time())
        host, port = _host_port(known.address)
        name, group = _service(service), self._server.group

        def beat(client: Any) -> None:
            client.modify_naming_instance(
                name, host, port, cluster_name="DEFAULT", metadata=_packed(now), group_name=group
            )
            client.send_heartbeat(name, host, port, cluster_name="DEFAULT", metadata=_packed(now), group_name=group)

        self._server.call(f"the heartbeat of {service} {instance}", beat)

    def deregister(self, service: str, instance: str, run: str) -> None:
        """See `Registry.deregister`."""
        for old in self._find(service, instance, run):
            self._remove(old)

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """See `Registry.instances`."""
        answer = self._server.call(
            f"looking for {service}",
            lambda client: client.list_naming_instance(_service(service), group_name=self._server.group),
        )
        found: dict[tuple[str, str], Instance] = {}
        for host in answer.get("hosts") or []:
            one = _unpacked(service, host)
            if one is None or (run is not None and one.run != run):
                continue
            other = found.get((one.run, one.instance))
            if other is None or other.started_at <= one.started_at:  # a restarted process replaces its old entry
                found[one.run, one.instance] = one
        return sorted(found.values(), key=lambda one: (one.run, len(one.instance), one.instance))

    def version(self) -> str:
        """As the server says it itself."""
        return self._server.version()

    def _find(self, service: str, instance: str, run: str) -> list[Instance]:
        return [one for one in self.instances(service, run) if one.instance == instance]

    def _remove(self, instance: Instance) -> None:
        host, port = _host_port(instance.address)
        self._server.call(
            f"taking out {instance.service} {instance.instance}",
            lambda client: client.remove_naming_instance(
                _service(instance.service), host, port, cluster_name="DEFAULT", group_name=self._server.group
            ),
        )


def _service(service: str) -> str:
    return f"offload-{service}"


def _host_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or 80


def _packed(instance: Instance) -> dict[str, str]:
    ours = {
        "address": instance.address,
        "instance": instance.instance,
        "run": instance.run,
        "metadata": dict(instance.metadata),
        "started_at": instance.started_at,
        "heartbeat_at": instance.heartbeat_at,
    }
    return {_OURS: json.dumps(ours)}


def _unpacked(service: str, host: Mapping[str, Any]) -> Instance | None:
    """An instance as Nacos has it; None for one that is not ours."""
    try:
        ours = json.loads((host.get("metadata") or {})[_OURS])
        return Instance(
            service, ours["instance"], ours["run"], ours["address"], ours["metadata"], ours["started_at"],
            ours["heartbeat_at"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None
