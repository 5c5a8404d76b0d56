"""What a node executes for a task. Found through the entry-point group `offload.applications`, ours and others' alike."""

from __future__ import annotations

import importlib.metadata

from offload.explanations import unknown_name
from offload.protocols import Application
from offload.settings import SettingsError

GROUP = "offload.applications"


def create_application(name: str) -> Application:
    """The application of a name. Raises SettingsError: there is none (listing what there is), or it cannot be loaded."""
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in entries:
        raise SettingsError(f"node.application: {unknown_name('application', name, sorted(entries))}")
    try:
        application: Application = entries[name].load()()
    except Exception as error:  # loading runs other people's code, which may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(f"node.application: '{name}' ({entries[name].value}) cannot be loaded: {reason}") from error
    return application
