"""Implements the registry with Nacos (`nacos://…`): ephemeral instances of the Nacos services `offload-<service>`.

Nacos itself detects a lost instance only after about 15 s. This module therefore writes the time of each heartbeat into
the metadata, so that a dead node is known after `MAX_AGE_S`. The time is by the sender's clock; `ages.py` handles
clocks that differ. Each process has its own entry, by address.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from middleware.nacos import NacosServer
from middleware.registry.ages import Ages
from middleware.registry.port import ForeignEntries, Instance, checked_instance, checked_seconds

_logger = logging.getLogger(__name__)

_OURS = "offload"
"""The only metadata key of this testbed. Its value is JSON, because Nacos' values are texts."""


class NacosRegistry:
    """See `middleware.registry.port.Registry`. Every method raises ServiceError."""

    def __init__(self, url: str) -> None:
        self._server = NacosServer(url, "registry")
        self._ages = Ages()
        self._foreign = ForeignEntries(_logger)

    def register(self, instance: Instance) -> None:
        """See `Registry.register`."""
        for old in self._find(instance):
            if old.address != instance.address:
                self._remove(old)
        host, port = _host_port(instance.address)
        name, group, metadata = _service(instance.service), self._server.group, _packed(instance)

        def enter(client: Any) -> None:
            client.add_naming_instance(
                name, host, port, cluster_name="DEFAULT", metadata=metadata, ephemeral=True, group_name=group
            )
            # For a known address, r-nacos keeps the metadata of the previous process.
            client.modify_naming_instance(name, host, port, cluster_name="DEFAULT", metadata=metadata, group_name=group)

        self._server.call(f"registering {instance.service} {instance.instance}", enter)

    def heartbeat(self, instance: Instance) -> bool:
        """See `Registry.heartbeat`."""
        found = self._find(instance)
        own = [one for one in found if one.is_process(instance)]
        others = [one for one in found if not one.is_process(instance) and one.alive()]
        if own and any(one.started_at >= instance.started_at for one in others):
            # Nacos' answers may be outdated, so a replaced process may have renewed its own entry.
            for one in own:
                self._remove(one)
            return False
        if not own and others:
            return False
        if not own:
            raise LookupError(f"{instance.service} {instance.instance} of run '{instance.run}' is not registered")
        host, port = _host_port(instance.address)
        name, group, content = _service(instance.service), self._server.group, _packed(instance)

        def beat(client: Any) -> None:
            client.modify_naming_instance(name, host, port, cluster_name="DEFAULT", metadata=content, group_name=group)
            client.send_heartbeat(name, host, port, cluster_name="DEFAULT", metadata=content, group_name=group)

        self._server.call(f"the heartbeat of {instance.service} {instance.instance}", beat)
        return True

    def deregister(self, instance: Instance) -> None:
        """See `Registry.deregister`."""
        for one in self._find(instance):
            if one.is_process(instance):
                self._remove(one)

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """See `Registry.instances`."""
        found: dict[tuple[str, str], Instance] = {}
        for one in self._all(service):
            other = found.get((one.run, one.instance))
            # A restarted process replaces its old entry, even if the clocks of the machines differ.
            if other is None or (other.alive(), other.started_at) <= (one.alive(), one.started_at):
                found[one.run, one.instance] = one
        chosen = [one for one in found.values() if run is None or one.run == run]
        return sorted(chosen, key=lambda one: (one.run, len(one.instance), one.instance))

    def version(self) -> str:
        """The version that the server reports."""
        return self._server.version()

    def _find(self, instance: Instance) -> list[Instance]:
        """The entries of all processes with the instance's name."""
        name = instance.run, instance.instance
        return [one for one in self._all(instance.service) if (one.run, one.instance) == name]

    def _all(self, service: str) -> list[Instance]:
        answer = self._server.call(
            f"looking for {service}",
            lambda client: client.list_naming_instance(_service(service), group_name=self._server.group),
        )
        read = [one for host in answer.get("hosts") or [] if (one := self._read(service, host)) is not None]
        ages = self._ages.look(service, {_process(one): heartbeat_at for one, heartbeat_at in read})
        return [replace(one, **vars(ages[_process(one)])) for one, _ in read]

    def _read(self, service: str, host: Mapping[str, Any]) -> tuple[Instance, float] | None:
        try:
            return _unpacked(service, host)
        except ValueError as wrong:
            self._foreign.log(f"{service} at {host.get('ip')}:{host.get('port')}", wrong)
            return None

    def _remove(self, instance: Instance) -> None:
        host, port = _host_port(instance.address)
        self._server.call(
            f"removing {instance.service} {instance.instance}",
            lambda client: client.remove_naming_instance(
                _service(instance.service), host, port, cluster_name="DEFAULT", group_name=self._server.group
            ),
        )


def _service(service: str) -> str:
    return f"offload-{service}"


def _host_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or 80


def _process(instance: Instance) -> tuple[Any, ...]:
    return instance.run, instance.instance, instance.address, instance.started_at


def _packed(instance: Instance) -> dict[str, str]:
    ours = {
        "address": instance.address,
        "instance": instance.instance,
        "run": instance.run,
        "metadata": dict(instance.metadata),
        "started_at": instance.started_at,
        "heartbeat_at": time.time(),
    }
    return {_OURS: json.dumps(ours)}


def _unpacked(service: str, host: Mapping[str, Any]) -> tuple[Instance, float] | None:
    """The instance in a Nacos entry, and its last heartbeat by its own clock. None for another program's entry.

    Raises ValueError for a damaged entry of this testbed.
    """
    metadata = host.get("metadata")
    if not isinstance(metadata, Mapping) or _OURS not in metadata:
        return None
    try:
        ours = json.loads(metadata[_OURS])
        named = ours["instance"], ours["run"], ours["address"], ours["metadata"], ours["started_at"]
        return checked_instance(service, *named), checked_seconds(ours["heartbeat_at"])
    except (LookupError, TypeError, RecursionError) as wrong:
        raise ValueError(f"{type(wrong).__name__}: {wrong}") from None
