"""Adapters whose library is an extra of ours: said when the adapter is chosen, not when it is first used."""

from __future__ import annotations

from importlib.util import find_spec

from offload.settings import SettingsError


def require_extra(module: str, extra: str, setting: str) -> None:
    """Raise SettingsError, naming the setting and what to install, where a module is not installed."""
    if find_spec(module) is None:
        raise SettingsError(
            f"{setting}: this needs a package that is not installed here: pip install 'offload-testbed[{extra}]'"
        )
