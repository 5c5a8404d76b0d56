"""Defines the configuration port: the live settings of a run as one record with revisions, which pods watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from offload.scheduler_choice import SchedulerChoice

LARGEST_REVISION: Final = 2**31 - 1
"""The largest number that the database stores as a revision."""


@dataclass(frozen=True)
class LiveSettings:
    """The live settings (`{"scheduler": {"name", "parameters", "model"}, "log_level"}`) at a revision (1, 2, …)."""

    revision: int
    values: Mapping[str, Any]
    written_by: str
    written_at: float
    origins: Mapping[str, Any] = field(default_factory=dict)
    """The live settings that each origin (a file, Helm) held when last read. A difference from them is an edit."""

    @property
    def scheduler(self) -> SchedulerChoice:
        """The scheduler that decides. Raises ValueError for a record that this testbed did not write."""
        return SchedulerChoice.from_json(self.values["scheduler"])


class NoLiveSettings(LookupError):
    """The run has no live settings yet, or lost them. Its controller creates them when it starts."""


class Configuration(Protocol):
    """Stores live settings by run. The last writer wins.

    Another program may have written a record that this version does not understand. Then `read` returns the last good
    record that this process has read, and a warning is logged once. A change starts from that record too.

    A node applies a new revision between two decisions, and acknowledges it.
    """

    def read(self, run_name: str) -> LiveSettings | None:
        """The record; None before it is created."""
        ...

    def create(self, run_name: str, values: Mapping[str, Any], by: str) -> LiveSettings:
        """Create the record if it does not exist. Returns the new or the existing record."""
        ...

    def change(self, run_name: str, changes: Mapping[str, Any], by: str) -> LiveSettings:
        """Change live settings, given flat (`scheduler.name`) or nested. Equal values create no new revision.

        Raises SettingsError for an unknown key or an impossible value, and NoLiveSettings if there is no record. An
        error changes nothing.
        """
        ...

    def adopt(self, run_name: str, values: Mapping[str, Any], origin: str) -> LiveSettings | None:
        """Write the live settings that an origin (a file, Helm) holds, if they differ from those that it held before.

        Only edited sections are written, so that unchanged ones do not undo changes made by other means. The first
        call only stores the origin's values. Returns the record if it has a new revision, else None.
        Raises NoLiveSettings if there is no record.
        """
        ...

    def watch(
        self, run_name: str, callback: Callable[[LiveSettings], None], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """Call `callback` with the current record, then with each newer one. The adapter calls it in its own thread.

        Of several quick revisions, only the last may be passed. If the callback raises ServiceUnavailable, the same
        revision is passed again. Returns a function that stops the watch.
        """
        ...
