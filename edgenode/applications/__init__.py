"""Finds a node's application: the code that the node executes for a task.

Applications are entry points of the group `offload.applications`, ours and those of other packages alike.
"""

from __future__ import annotations

import importlib.metadata

from offload.explanations import unknown_name
from offload.protocols import Application
from offload.settings import SettingsError

GROUP = "offload.applications"


def create_application(name: str) -> Application:
    """Make the application with this name.

    Raises SettingsError if it does not exist, listing those that do, or if it cannot be loaded.
    """
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in entries:
        raise SettingsError(f"node.application: {unknown_name('application', name, sorted(entries))}")
    try:
        application: Application = entries[name].load()()
    except Exception as error:  # loading runs third-party code, which may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"node.application: '{name}' ({entries[name].value}) cannot be loaded: {reason}") from error
    return application
