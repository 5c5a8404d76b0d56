"""How a controller acquires its run's lease; the refusal says which controller has it, and where that one answers."""

from __future__ import annotations

from middleware.database import LeaseHeld, LeaseHolder
from middleware.errors import ServiceError
from middleware.patience import bear
from middleware.registry import CONTROLLER, Registry


def take_control(holder: LeaseHolder, registry: Registry, run_name: str) -> None:
    """Acquire the run's lease, after waiting for that of a dead controller to expire.

    Raises LeaseHeld, with words for people, while another controller lives.
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
    """Where the holder answers, in words, as far as that is known."""
    try:
        found = registry.instances(CONTROLLER, run_name)
    except ServiceError as error:  # the refusal counts without the address
        bear(error, "looking for the run's controller")
        found = []
    return next((f", at {one.address}" for one in found if one.metadata.get("holder") == holder), "")
