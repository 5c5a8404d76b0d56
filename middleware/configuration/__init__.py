"""Settings from their layers, and the live settings of a running system: `file:` (a record in the database, and, with
`file:PATH`, a file that the controller watches), or a configuration in Nacos (`nacos://…`)."""

from pathlib import Path

from middleware.configuration.file import watch_file
from middleware.configuration.layers import load_settings
from middleware.configuration.live_settings import changed
from middleware.configuration.port import Configuration, LiveSettings
from middleware.configuration.table import TableConfiguration
from middleware.database.engine import Database
from middleware.home import expanded
from offload.settings import SettingsError, redacted

__all__ = [
    "Configuration",
    "LiveSettings",
    "TableConfiguration",
    "changed",
    "load_settings",
    "open_configuration",
    "watch_file",
    "watched_file",
]


def open_configuration(url: str, db: Database, owner: bool = False) -> Configuration:
    """The configuration of a URL. owner: whether this process makes revisions of edits in Nacos' console.

    Raises SettingsError for a URL that this installation has no adapter for.
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
    """The file of `file:PATH`, None for `file:` and for other adapters."""
    if not url.startswith("file:"):
        return None
    rest = url.removeprefix("file:").removeprefix("//")
    return expanded(rest, "services.configuration") if rest else None
