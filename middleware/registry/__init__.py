"""Registers pods and finds the running ones, in a database table (`database:`) or in Nacos (`nacos://…`)."""

from middleware.database.engine import Database
from middleware.registry.heartbeat import keep_registered
from middleware.registry.port import CONTROLLER, EDGE_NODE, MAX_AGE_S, Instance, Registry, clock_message
from middleware.registry.table import TableRegistry
from offload.settings import SettingsError, redacted

__all__ = [
    "CONTROLLER",
    "EDGE_NODE",
    "MAX_AGE_S",
    "Instance",
    "Registry",
    "clock_message",
    "keep_registered",
    "open_registry",
]


def open_registry(url: str, db: Database) -> Registry:
    """The registry adapter for a URL. Raises SettingsError if there is none."""
    if url == "database:":
        return TableRegistry(db)
    if url.startswith("nacos://"):
        from middleware.registry.nacos import NacosRegistry

        return NacosRegistry(url)
    raise SettingsError(
        f"services.registry: there is no adapter for '{redacted(url)}'; write database:, or "
        "nacos://host:8848/namespace?group=…"
    )
