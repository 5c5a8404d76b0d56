"""The configuration port: the live settings of a run as one revisioned record that pods watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from offload.scheduler_choice import SchedulerChoice


@dataclass(frozen=True)
class LiveSettings:
    """The live settings (`{"scheduler": {"name", "parameters", "model"}, "log_level"}`) at a revision (1, 2, …)."""

    revision: int
    values: Mapping[str, Any]
    written_by: str
    written_at: float
    origins: Mapping[str, Any] = field(default_factory=dict)
    """The live settings that each origin (a file, Helm) held when it was last looked at: an edit there is a difference from them."""

    @property
    def scheduler(self) -> SchedulerChoice:
        """Which scheduler decides. Raises ValueError for a record that no program of ours wrote."""
        return SchedulerChoice.from_json(self.values["scheduler"])


class Configuration(Protocol):
    """The last writer wins; a node applies a revision between two decisions and acknowledges it."""

    def read(self, run_name: str) -> LiveSettings | None:
        """The record, None before it was created."""
        ...

    def create(self, run_name: str, values: Mapping[str, Any], by: str) -> LiveSettings:
        """Create the record if it is absent; else it stays as it is. Returns what is there."""
        ...

    def change(self, run_name: str, changes: Mapping[str, Any], by: str) -> LiveSettings:
        """Change live settings, given flat (`scheduler.name`) or nested; a new revision only where something differs.

        Raises SettingsError for an unknown key or an impossible value; nothing is changed then. LookupError without record.
        """
        ...

    def adopt(self, run_name: str, values: Mapping[str, Any], origin: str) -> LiveSettings | None:
        """Write the live settings that an origin (a file, Helm) holds, if they differ from those that it held before.

        So an edit is a write, and what is unchanged there does not undo what was set by other means. The first time they are only
        remembered. Returns the record when it has a new revision, else None. LookupError without record.
        """
        ...

    def watch(
        self, run_name: str, callback: Callable[[LiveSettings], None], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """Call back, in a thread of the adapter's, with the record as it is, then with every newer one that is seen.

        Revisions that follow one another quickly may be seen as one. One for which the callback raises that a service is
        away is brought again. Returns what stops the watch.
        """
        ...
