"""Defines the data types and protocols that all packages share: the only public Python API of the testbed.

These are settings, networks, tasks, random draws, local states and reports, observation profiles, masks, outcomes,
model manifests, the `Scheduler`, `Application` and `EpisodeSource` protocols, and the conformance kit for schedulers.
Nothing here opens files or connections, starts threads, or needs torch. This package imports no other package of the
testbed; only `entry_points` loads what other packages register.
"""

from offload.draws import Draws, Purpose, uniform
from offload.episodes import EpisodeLog, EpisodePlan
from offload.manifest import ManifestError, ModelManifest
from offload.masks import action_mask, recorded_mask
from offload.network import Network, draw_network
from offload.outcomes import Outcome, end_slot, reward
from offload.presets import PRESETS
from offload.profiles import Profile, make_profile
from offload.protocols import Actor, Application, Choice, EpisodeSource, Scheduler, SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, SettingsError, resolve_settings
from offload.state import LocalState, Reports, report_of
from offload.tasks import Task, Trace, draw_trace

__all__ = [
    "PRESETS",
    "Actor",
    "Application",
    "Choice",
    "Draws",
    "EpisodeLog",
    "EpisodePlan",
    "EpisodeSource",
    "LocalState",
    "ManifestError",
    "ModelManifest",
    "Network",
    "Outcome",
    "Profile",
    "Purpose",
    "Reports",
    "Scheduler",
    "SchedulerChoice",
    "SchedulerContext",
    "Settings",
    "SettingsError",
    "Task",
    "Trace",
    "action_mask",
    "draw_network",
    "draw_trace",
    "end_slot",
    "make_profile",
    "recorded_mask",
    "report_of",
    "resolve_settings",
    "reward",
    "uniform",
]
