"""Loads the settings from their layers, and stores the live settings of a running system.

The live settings are a record in the database (`file:`) or a configuration in Nacos (`nacos://…`). With `file:PATH`
the controller also watches that file.
"""

from pathlib import Path

from middleware.configuration.file import watch_file
from middleware.configuration.layers import load_settings
from middleware.configuration.live_settings import changed, nested
from middleware.configuration.port import Configuration, LiveSettings, NoLiveSettings
from middleware.configuration.table import TableConfiguration
from middleware.database.engine import Database
from middleware.home import expanded
from offload.settings import SettingsError, redacted

__all__ = [
    "Configuration",
    "LiveSettings",
    "NoLiveSettings",
    "TableConfiguration",
    "changed",
    "load_settings",
    "nested",
    "open_configuration",
    "watch_file",
    "watched_file",
]


def open_configuration(url: str, db: Database, owner: bool = False) -> Configuration:
    """The configuration adapter for a URL. Raises SettingsError if there is none.

    owner: whether this process creates a revision for each edit in Nacos' console
    """
    if url.startswith("file:"):
        return TableConfiguration(db)
    if url.startswith("nacos://"):
        from middleware.configuration.nacos import NacosConfiguration

        return NacosConfiguration(url, owner)
    raise SettingsError(
        f"services.configuration: there is no adapter for '{redacted(url)}'; write file:, file:PATH, or "
        "nacos://host:8848/namespace?group=…"
    )


def watched_file(url: str) -> Path | None:
    """The file of `file:PATH`; None for `file:` and for other adapters."""
    if not url.startswith("file:"):
        return None
    rest = url.removeprefix("file:").removeprefix("//")
    return expanded(rest, "services.configuration") if rest else None
