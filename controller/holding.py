"""Acquires the run's lease for a controller. The error names the controller that holds it, and its address."""

from __future__ import annotations

from middleware.database import LeaseHeld, LeaseHolder
from middleware.errors import ServiceError
from middleware.registry import CONTROLLER, Registry
from middleware.retrying import log_refusal


def take_control(holder: LeaseHolder, registry: Registry, run_name: str) -> None:
    """Acquire the run's lease. Waits until the lease of a dead controller expires.

    Raises LeaseHeld if another controller is running. The message says where it is and what to do.
    """
    try:
        holder.acquire()
    except LeaseHeld as held:
        raise LeaseHeld(
            run_name,
            held.holder,
            f"run '{run_name}' has a controller already{_address(registry, run_name, held.holder)} ({held.holder}); "
            "stop that one, or choose another name",
        ) from None


def _address(registry: Registry, run_name: str, holder: str) -> str:
    """The holder's address as part of a message; empty if it is not known."""
    try:
        found = registry.instances(CONTROLLER, run_name)
    except ServiceError as error:  # the message is useful without the address
        log_refusal(error, "looking for the run's controller")
        found = []
    return next((f", at {one.address}" for one in found if one.metadata.get("holder") == holder), "")
