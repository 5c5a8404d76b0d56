"""Checks that the optional library of an adapter is installed, when the adapter is chosen."""

from __future__ import annotations

from importlib.util import find_spec

from offload.settings import SettingsError


def require_extra(module: str, extra: str, setting: str) -> None:
    """Raise SettingsError if a module is not installed. The message names the setting and the package to install."""
    if find_spec(module) is None:
        raise SettingsError(
            f"{setting}: this value needs a package that is not installed: "
            f"run `pip install -e '.[{extra}]'` in the project's folder"
        )
