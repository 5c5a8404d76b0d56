"""Expands paths in settings that begin with `~`."""

from __future__ import annotations

from pathlib import Path

from offload.settings import SettingsError


def expanded(path: str, setting: str) -> Path:
    """The path with `~` or `~user` replaced. Raises SettingsError that names the setting if there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SettingsError(f"{setting}: '{path}': there is no such home directory; write the whole path") from None
