"""Sends a heartbeat that keeps a process registered, also after errors and data loss of the registry."""

from __future__ import annotations

from middleware.errors import ServiceError
from middleware.registry.port import Instance, Registry
from middleware.retrying import log_refusal


def keep_registered(registry: Registry, instance: Instance) -> bool:
    """Send a heartbeat with the instance's metadata. Register again if the registry has lost the entry.

    Returns False if another running process has the name now. Errors of the registry are logged, not raised: the next
    heartbeat may succeed.
    """
    try:
        try:
            return registry.heartbeat(instance)
        except LookupError:
            registry.register(instance)
    except ServiceError as error:
        log_refusal(error, f"the heartbeat of {instance.service} {instance.instance}")
    return True
