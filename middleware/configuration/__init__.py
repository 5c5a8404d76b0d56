"""Settings from their layers, and the hot keys of a running system: `file:` (a record in the database, and, with
`file:PATH`, a file that the controller watches)."""

from pathlib import Path

from middleware.configuration.file import watch_file
from middleware.configuration.hot_keys import changed
from middleware.configuration.layers import layers_of, load_settings
from middleware.configuration.port import Configuration, HotRecord
from middleware.configuration.table import TableConfiguration
from middleware.database.engine import Database

__all__ = [
    "Configuration",
    "HotRecord",
    "TableConfiguration",
    "changed",
    "layers_of",
    "load_settings",
    "open_configuration",
    "watch_file",
    "watched_file",
]


def open_configuration(url: str, db: Database) -> TableConfiguration:
    """The configuration of a URL. Raises ValueError for one that this installation has no adapter for."""
    if url.startswith("file:"):
        return TableConfiguration(db)
    raise ValueError(f"services.configuration: there is no adapter for '{url}'; write file: or file:PATH")


def watched_file(url: str) -> Path | None:
    """The file of `file:PATH`, None for `file:`."""
    rest = url.removeprefix("file:").removeprefix("//")
    return Path(rest) if rest else None
