"""Plays the trainer's episodes in the numeric twin, and records them like the testbed's episodes.

Plans with the same scheduler, parameters and model are played in one batch. The rows and logs have the testbed's form,
so resuming, transitions, evaluation and report need no code for the twin.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.actor import OnnxActor
from middleware.database import Database, LeaseHolder, Run, close_episode, load_network, open_episode, write_records
from middleware.storage import Storage, fetch_model
from offload import draw_trace, make_profile
from offload.candidates import CandidateProfile
from offload.episodes import EpisodeLog, EpisodePlan
from offload.manifest import ACTOR_FILE
from offload.profiles import Profile
from offload.protocols import Actor, SchedulerContext
from offload.scheduler_choice import SchedulerChoice
from simulator.records import batches, play_logged
from simulator.twin import Twin


class TwinSource:
    """An `offload.EpisodeSource` that plays in the twin. It must be used by one thread.

    holder: of the run's lease; playing raises LeaseLost after the lease was lost. None if nothing is played
    """

    def __init__(self, db: Database, storage: Storage, run: Run, holder: LeaseHolder | None) -> None:
        self._db, self._storage, self._run, self._holder = db, storage, run, holder
        self._settings = run.settings
        self._network = load_network(db, run)
        self._profile = make_profile(run.settings)
        self._actors: dict[str, tuple[Actor, Profile | CandidateProfile]] = {}

    def play(self, plan: EpisodePlan) -> EpisodeLog:
        """Play, record and return one episode."""
        return next(self.play_all([plan]))

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        """Play and record the plans. Yields each log as soon as it is recorded, in any order."""
        alike: dict[SchedulerChoice, list[EpisodePlan]] = {}
        for plan in plans:
            alike.setdefault(plan.scheduler, []).append(plan)
        time, nodes = self._settings.time, self._network.nodes
        for choice, same in alike.items():
            for part in batches(len(same), time.slots, nodes, self._profile.size):
                yield from self._play_alike(choice, [same[k] for k in part])

    def _play_alike(self, choice: SchedulerChoice, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        assert self._holder is not None, "a run's episodes are written by the holder of its lease"
        settings, network = self._settings, self._network
        actor, profile = (None, self._profile) if choice.model is None else self._actor(choice.model)
        context = SchedulerContext(network.nodes, profile, actor)
        scheduler = create_scheduler(choice.name, choice.parameters, context)
        traces = [
            draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, plan.trace)
            for plan in plans
        ]
        played = play_logged(Twin([network], traces, settings), scheduler, self._profile)
        for b, (plan, trace) in enumerate(zip(plans, traces, strict=True)):
            uid, lease = uuid.uuid4().hex, self._holder.lease
            number = open_episode(self._db, self._run, plan, trace, 0, uid, lease=lease)
            decisions = played.decision_records(b, number, uid, choice.model, revision=0)
            records = [*decisions, *played.outcome_records(b, number, uid)]
            refused = write_records(self._db, self._run.number, records)
            assert not refused, "an episode that has just been opened accepts records"
            close_episode(self._db, self._run, number, lease=lease)
            yield played.log(b, number, plan)

    def _actor(self, version: str) -> tuple[Actor, Profile | CandidateProfile]:
        if version not in self._actors:
            manifest, files = fetch_model(self._storage, self._run.name, version, names=(ACTOR_FILE,))
            profile = manifest.fitting_profile(self._profile)
            self._actors[version] = OnnxActor(files[ACTOR_FILE]), profile
        return self._actors[version]
