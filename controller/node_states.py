"""Collects the state of every edge node, from the registry, from Kubernetes, and from the node itself.

Concurrency: any thread may call `node_states`. It opens and closes its own connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from controller.interface import Node
from controller.nodes import NodeClients
from controller.pods import NodePods
from controller.run_services import RunServices
from middleware.registry import Instance, clock_message

_ANSWER_S = 1.0
_OWN: Final = ("revision", "scheduler", "model", "problem", "pending", "queues", "outbox", "outbox_problem")
"""The values that a node itself reports."""
_MALFORMED: Final = "its answer to /v1/status cannot be parsed; check whether the pod has another version"


def node_states(services: RunServices, pods: NodePods | None) -> list[Node]:
    """All nodes of the run, by index. The node's own values are None if it does not answer within `_ANSWER_S`."""
    instances = {int(one.instance): one for one in services.registered_nodes()}
    answered = _ask(services, instances)
    seen = {} if pods is None else pods.seen()
    states = []
    for node in range(services.network.nodes):
        instance, own = instances.get(node), answered.get(node, {})
        facts = {
            "node": node,
            "address": instance.address if instance else None,
            "alive": instance is not None and instance.alive(),
            "heartbeat_age_s": round(instance.age_s, 1) if instance else None,
            "clock": clock_message(instance) if instance else None,
            "capacity_hz": float(services.network.capacity_hz[node]),
            "arrival_probability": float(services.network.arrival_probability[node]),
            "pod": seen.get(node),
        }
        try:
            states.append(Node(**facts, **{key: own.get(key) for key in _OWN}))
        except ValidationError:
            states.append(Node(**facts, **{**dict.fromkeys(_OWN), "problem": _MALFORMED}))
    return states


def _ask(services: RunServices, instances: Mapping[int, Instance]) -> dict[int, Mapping[str, Any]]:
    """The answers to `/v1/status`, by node; only of nodes that are alive and answer."""
    alive = {node: one.address for node, one in instances.items() if one.alive()}
    clients = NodeClients(alive, services.run.uid, services.access)
    answers = clients.ask("GET", "/v1/status", dict.fromkeys(alive), _ANSWER_S)
    clients.close()
    return {node: answer.body for node, answer in answers.items() if answer.ok}
