"""Applies revisions of the live settings: builds the scheduler of a revision and makes it the node's current one.

Concurrency: the watcher thread brings revisions, and so do the requests that open an episode. `_lock` admits one thread
at a time. `current` is replaced as a whole, between two decisions; the loop thread reads it once for each decision.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenode.core import NodeCore
from edgenode.identity import NodeIdentity
from edgenode.probing import chosen_node, probed_nodes, reports_from
from edgenode.schedulers import create_scheduler
from middleware.configuration import LiveSettings
from middleware.errors import ServiceError, ServiceUnavailable
from middleware.storage import Storage, fetch_model, named_model
from offload.candidates import CandidateProfile
from offload.draws import Draws
from offload.manifest import ACTOR_FILE
from offload.profiles import Profile
from offload.protocols import Actor, Scheduler, SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import Task

_logger = logging.getLogger(__name__)


class ActivationError(RuntimeError):
    """This node cannot apply a revision, and keeps the one before. The message says why."""


class RevisionLate(RuntimeError):
    """The configuration service does not show this node a revision yet. The message names the one that it shows."""


class ModelUnavailable(ServiceUnavailable):
    """A revision's model cannot be fetched while the storage is unavailable. The revision before stays until then."""


@dataclass(frozen=True)
class ActiveScheduler:
    """The scheduler in use.

    choice: the scheduler and model that this revision of the live settings chooses
    actor: of that model; None without a model. profile: encodes its input
    """

    revision: int
    choice: SchedulerChoice
    scheduler: Scheduler
    actor: CountedActor | None
    profile: Profile | CandidateProfile

    @property
    def actor_calls(self) -> int:
        """How often the scheduler has asked the model's actor so far.

        A decision has asked the actor if this number is higher at its end than at its start.
        """
        return 0 if self.actor is None else self.actor.calls

    @property
    def model(self) -> str | None:
        """The chosen model, once the scheduler has asked its actor; None for a scheduler that asks none."""
        return self.choice.model if self.actor_calls else None


class CountedActor:
    """An actor that counts how often a scheduler asks it."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.calls = 0

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, O) → (B, N+1), or the rows of R candidates → (R, 2)."""
        self.calls += 1
        return self.actor.logits(observations)


class Activation:
    """The node's current scheduler. `applied` is called after every change, to acknowledge it."""

    def __init__(self, identity: NodeIdentity, storage: Storage, applied: Callable[[], None] = lambda: None) -> None:
        self._identity = identity
        self._storage = storage
        self._applied = applied
        self._lock = threading.Lock()
        self.current: ActiveScheduler | None = None
        self.problem: str | None = None
        self.refused: int | None = None
        """The revision that this node rejected permanently. None if it applied the last one, or waits for a service."""

    def apply(self, record: LiveSettings, timeout_s: float = -1) -> None:
        """Make this revision's scheduler the current one. An older revision changes nothing.

        timeout_s: real seconds to wait for another thread that applies a revision; -1: no limit

        Raises ActivationError for a scheduler that does not exist, has wrong parameters or cannot decide. A model that
        is missing, damaged or does not fit raises the same. Raises ModelUnavailable while the storage is unavailable,
        and after `timeout_s`. After an error the current scheduler stays.
        """
        if not self._lock.acquire(timeout=timeout_s):
            # Only one thread waits for an unavailable storage: such requests could occupy all request threads.
            raise ModelUnavailable(f"revision {record.revision} is being applied")
        try:
            applied = self._apply(record)
        finally:
            self._lock.release()
        if applied:
            self._applied()

    def _apply(self, record: LiveSettings) -> bool:
        current = self.current
        if current is not None and record.revision <= current.revision:
            return False
        choice = record.scheduler
        what = f"revision {record.revision} ({choice.name}, model {choice.model})"
        try:
            actor, profile = self._actor(choice.model, current)
            context = SchedulerContext(self._identity.network.nodes, profile, actor)
            scheduler = create_scheduler(choice.name, choice.parameters, context)
            self._try_out(scheduler)
        except ServiceUnavailable as error:
            problem = f"{what} waits: {error}"
            if self.problem is None or self.refused is not None:
                _logger.warning("%s", problem)
            self.problem, self.refused = problem, None
            raise ModelUnavailable(problem) from None
        except Exception as error:  # a scheduler is third-party code: it may raise anything
            foreseen = isinstance(error, ValueError | OSError | ServiceError)
            reason = str(error) if foreseen else f"{type(error).__name__}: {error}"
            self.problem = f"{what}: {reason}"
            self.refused = record.revision
            _logger.error("%s", self.problem, exc_info=not foreseen)
            raise ActivationError(self.problem) from error
        logging.getLogger().setLevel(record.values["log_level"])
        self.current = ActiveScheduler(record.revision, choice, scheduler, actor, profile)
        self.problem, self.refused = None, None
        _logger.info("scheduler %s, model %s, revision %d", choice.name, choice.model, record.revision)
        return True

    def catch_up(self, read: Callable[[], LiveSettings | None], revision: int, timeout_s: float) -> ActiveScheduler:
        """Read and apply the live settings until the node is at `revision` or later. Returns the current scheduler.

        timeout_s: real seconds until RevisionLate

        Raises ActivationError, RevisionLate, ServiceError.
        """
        until = time.monotonic() + timeout_s
        while True:
            current = self.current
            if current is not None and current.revision >= revision:
                return current
            record = read()
            if record is not None and record.revision >= revision:
                self.apply(record, max(0.0, until - time.monotonic()))
            elif time.monotonic() > until:
                found = "none" if record is None else str(record.revision)
                raise RevisionLate(f"the live settings are at revision {found}, not {revision}, after {timeout_s:g} s")
            else:
                time.sleep(0.02)

    def _try_out(self, scheduler: Scheduler) -> None:
        """Have the scheduler decide on one task at an idle node.

        A scheduler that cannot decide fails here, before it is used. It is also warmed up for the first slot.
        """
        identity = self._identity
        tasks = identity.settings.tasks
        size_bits = tasks.size_bits[0]
        task = Task(0, identity.node, size_bits, size_bits * tasks.complexity_cycles_per_bit[0], tasks.deadline_s)
        snapshot = NodeCore(identity.facts(episode=0, episode_uid="", trace=0)).tick(0, task, 0.0)
        assert snapshot is not None
        states, draws = snapshot.states, Draws.single(identity.settings.seed, 0, 0, identity.node)
        reports = reports_from(probed_nodes(scheduler.probes(states, draws)), {}, states)
        chosen_node(scheduler.choose(states, reports, draws), states.nodes)

    def _actor(
        self, model: str | None, current: ActiveScheduler | None
    ) -> tuple[CountedActor | None, Profile | CandidateProfile]:
        """The model's actor, not called yet, and its profile. Reuses the current actor if the model is the same."""
        own = self._identity.profile
        if model is None:
            return None, own
        if current is not None and current.actor is not None and current.choice.model == model:
            return CountedActor(current.actor.actor), current.profile
        # Imported here and not at the top: onnxruntime is large, and heuristics do not need it.
        from edgenode.schedulers.actor import OnnxActor

        manifest, files = fetch_model(self._storage, *named_model(self._identity.run, model))
        profile = manifest.fitting_profile(own)
        return CountedActor(OnnxActor(files[ACTOR_FILE])), profile
