"""How a controller gets its run: by the run's lease, or not at all, with words that say who has it."""

from __future__ import annotations

from middleware.database import LeaseHeld, LeaseHolder
from middleware.patience import bear
from middleware.registry import Registry

SERVICE = "controller"


class AlreadyControlled(ValueError):
    """The run has a controller that lives."""


def take_control(holder: LeaseHolder, registry: Registry, run_name: str) -> None:
    """Acquire the run's lease, after waiting for that of a dead predecessor to expire. Raises AlreadyControlled."""
    try:
        holder.acquire()
    except LeaseHeld as held:
        raise AlreadyControlled(
            f"run '{run_name}' has a controller already{_address(registry, run_name, held.holder)} ({held.holder}); "
            "stop that one, or choose another name"
        ) from None


def _address(registry: Registry, run_name: str, holder: str) -> str:
    """Where it answers, in words, as far as that is known."""
    try:
        found = registry.instances(SERVICE, run_name)
    except Exception as error:
        bear(error, "looking for the run's controller")
        found = []
    return next((f", at {one.address}" for one in found if one.metadata.get("holder") == holder), "")
