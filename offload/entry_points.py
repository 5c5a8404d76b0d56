"""Finds and loads what packages register under the entry-point groups `offload.schedulers` and `offload.algorithms`.

Entry points are looked up at each call, so that a package installed in a running process is found.
"""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint
from typing import Any

from offload.explanations import unknown_name
from offload.settings import SettingsError


def entry_names(group: str) -> list[str]:
    """The names in a group, sorted, each once. Loads nothing."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=group)})


def find_entry(group: str, kind: str, name: str, key: str) -> EntryPoint:
    """The entry point of a name. Loads nothing.

    kind: what the group registers, for messages: `scheduler`; key: the settings' key that has the name
    Raises SettingsError for an unknown name, and for one that several packages register with different values.
    """
    found = {entry.value: entry for entry in importlib.metadata.entry_points(group=group) if entry.name == name}
    if not found:
        raise SettingsError(f"{key}: {unknown_name(kind, name, entry_names(group))}")
    if len(found) > 1:
        raise SettingsError(f"{key}: several packages register the {kind} '{name}': {', '.join(sorted(found))}")
    return next(iter(found.values()))


def load_entry(entry: EntryPoint, key: str) -> Any:
    """The object of an entry point. Raises SettingsError if it cannot be loaded."""
    try:
        return entry.load()
    except Exception as error:  # importing runs code of other packages, which may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"{key}: '{entry.name}' ({entry.value}) cannot be loaded: {reason}") from error
