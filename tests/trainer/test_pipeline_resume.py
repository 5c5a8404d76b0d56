"""Tests that a pipeline that is killed and restarted at any point gives the same result and plays no episode twice."""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from instant_testbed import InstantSource, open_run, small_settings

from middleware.database import Database, Run, find_episodes, find_models
from middleware.storage import Storage, fetch_model, open_storage
from offload.episodes import EpisodeLog, EpisodePlan
from offload.manifest import ACTOR_FILE, LEARNER_FILE
from trainer.pipeline import PHASES, Pipeline, PipelineError
from trainer.plans import checkpoint_steps

TRAINED = PHASES[:-1]


class Killed(BaseException):
    """The process is killed: no code may catch this."""


class Reaper:
    """Kills once at every point that it sees for the first time."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, moment: str) -> None:
        if moment not in self.seen:
            self.seen.append(moment)
            raise Killed(moment)


class MortalSource:
    def __init__(self, source: InstantSource, reaper: Callable[[str], None]) -> None:
        self._source, self._reaper = source, reaper

    def play(self, plan: EpisodePlan) -> EpisodeLog:
        self._reaper(f"before {plan}")
        log = self._source.play(plan)
        self._reaper(f"after {plan}")
        return log

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        return map(self.play, plans)


class MortalStorage:
    def __init__(self, storage: Storage, reaper: Callable[[str], None]) -> None:
        self._storage, self._reaper = storage, reaper

    def write(self, path: str, content: bytes) -> None:
        self._reaper(f"before writing {path}")
        self._storage.write(path, content)
        self._reaper(f"after writing {path}")

    def __getattr__(self, name: str):
        return getattr(self._storage, name)


class MortalProgress:
    def __init__(self, reaper: Callable[[str], None]) -> None:
        self._reaper, self._phase, self._done = reaper, "", 0

    def begin(self, phase: str, total: int, unit: str) -> None:
        self._phase, self._done = phase, 0
        self._reaper(f"begin {phase} of {total} {unit}")

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        self._reaper(f"{self._phase} {self._done}")

    def end(self) -> None:
        self._reaper(f"end {self._phase}")


def content(db: Database, storage: Storage, run: Run) -> dict[str, bytes]:
    """The files of all versions."""
    names = (ACTOR_FILE, LEARNER_FILE)
    return {
        f"{row.version}/{name}": fetch_model(storage, run.name, row.version, names)[1][name]
        for row in find_models(db, run)
        for name in names
    }


def plans_played(db: Database, run: Run) -> Counter[tuple]:
    summaries = find_episodes(db, run)
    return Counter((s.plan.phase, s.plan.method, s.plan.trace, s.plan.scheduler.model) for s in summaries)


def pipeline(
    folder: Path, settings, reaper: Callable[[str], None] = lambda moment: None, activated: list | None = None
):
    folder.mkdir(exist_ok=True)
    db, run = open_run(folder, settings)
    storage = MortalStorage(open_storage(f"file:{folder}/storage", db), reaper)

    def activate(version: str) -> None:
        reaper(f"activate {version}")
        if activated is not None:
            activated.append(version)

    source = MortalSource(InstantSource(db, storage, run), reaper)
    return Pipeline(db, storage, run, source, activate, MortalProgress(reaper))


def test_pipeline_killed_at_any_step_resumes_to_the_same_result(tmp_path: Path) -> None:
    settings = small_settings()
    straight = pipeline(tmp_path / "straight", settings)
    straight.execute(TRAINED)

    reaper = Reaper()
    kills = 0
    while True:
        # All services are opened again, as in a restarted process.
        mortal = pipeline(tmp_path / "mortal", settings, reaper)
        try:
            mortal.execute(TRAINED)
            break
        except Killed:
            kills += 1
            mortal.db.close()
    assert kills > 80
    assert any("begin evaluate" in moment for moment in reaper.seen)
    assert content(mortal.db, mortal.storage, mortal.run) == content(straight.db, straight.storage, straight.run)
    played = plans_played(mortal.db, mortal.run)
    assert played == plans_played(straight.db, straight.run)
    assert set(played.values()) == {1}


def test_what_the_phases_play_publish_and_activate(tmp_path: Path) -> None:
    settings = small_settings()
    activated: list[str] = []
    whole = pipeline(tmp_path, settings, activated=activated)
    whole.execute(TRAINED)
    assert activated == ["offline", "o2o-drl-0001", "o2o-drl-0002"]
    models = {row.version: row for row in find_models(whole.db, whole.run)}
    assert set(models) == {
        "offline-checkpoint-2",
        "offline-checkpoint-5",
        "offline",
        "o2o-drl-0001",
        "o2o-drl-0002",
        "online-only-0000",
        "online-only-0001",
        "online-only-0002",
    }
    assert models["o2o-drl-0001"].manifest.parent == "offline"
    assert models["o2o-drl-0001"].manifest.reward_std == models["offline"].manifest.reward_std != 1.0
    assert models["online-only-0000"].manifest.parent is None
    assert models["online-only-0002"].manifest.reward_mean == models["online-only-0001"].manifest.reward_mean
    assert models["offline"].number == 7

    def traces(phase: str, method: str) -> list[tuple[int, str | None]]:
        summaries = find_episodes(whole.db, whole.run, phase=phase, method=method)
        return [(s.plan.trace, s.plan.scheduler.model) for s in summaries]

    assert traces("collect", "ratc") == [(0, None), (1, None), (2, None)]
    assert traces("checkpoint", "offline-checkpoint") == [
        (1_000_000, "offline-checkpoint-2"),
        (1_000_000, "offline-checkpoint-5"),
    ]
    o2o, online = traces("online", "o2o-drl"), traces("online", "online-only")
    assert [trace for trace, _ in o2o] == [trace for trace, _ in online] == [2_000_000 + k for k in range(4)]
    assert [model for _, model in o2o] == ["offline", "offline", "o2o-drl-0001", "o2o-drl-0001"]
    assert [model for _, model in online] == [f"online-only-000{k}" for k in (0, 0, 1, 1)]
    evaluated = find_episodes(whole.db, whole.run, phase="evaluate")
    # interleaved: each trace is played by every method before the next one
    assert [s.plan.trace - 3_000_000 for s in evaluated] == [0] * 4 + [1] * 4
    assert {s.plan.method: s.plan.scheduler.model for s in evaluated} == {
        "random": None,
        "offline-only": "offline",
        "online-only": "online-only-0002",
        "o2o-drl": "o2o-drl-0002",
    }


def test_a_finished_run_started_again_plays_and_trains_nothing(tmp_path: Path) -> None:
    pipeline(tmp_path, small_settings()).execute(TRAINED)

    def nothing(moment: str) -> None:
        assert not moment.startswith(("before", "after", "activate")), moment

    pipeline(tmp_path, small_settings(), nothing).execute(TRAINED)


@pytest.mark.mysql
def test_the_pipeline_comes_to_the_same_models_on_mysql(tmp_path: Path) -> None:
    url = os.environ.get("OFFLOAD_TEST_MYSQL_URL")
    if not url:
        pytest.skip("OFFLOAD_TEST_MYSQL_URL is not set")
    embedded = pipeline(tmp_path / "embedded", small_settings())
    embedded.execute(TRAINED)
    db, run = open_run(tmp_path, small_settings(), url, f"trainer-{uuid.uuid4().hex[:12]}")
    storage = open_storage("database:", db)
    for _ in range(2):  # the second time, all results exist already
        Pipeline(db, storage, run, InstantSource(db, storage, run), lambda version: None).execute(TRAINED)
    assert content(db, storage, run) == content(embedded.db, embedded.storage, embedded.run)
    assert plans_played(db, run) == plans_played(embedded.db, embedded.run)
    db.close()


def test_a_phase_without_its_predecessor_says_what_to_run_first(tmp_path: Path) -> None:
    empty = pipeline(tmp_path, small_settings())
    with pytest.raises(PipelineError, match="needs 3 complete episodes of ratc; 3 of them are missing"):
        empty.execute(["offline"])
    with pytest.raises(PipelineError, match="run the phase offline first"):
        empty.execute(["deploy"])
    with pytest.raises(PipelineError, match="run the phase offline first"):
        empty.execute(["online"])
    with pytest.raises(PipelineError, match="run the phase offline first"):
        empty.execute(["evaluate"])
    with pytest.raises(PipelineError, match="unknown phase 'train'; phases: collect, offline"):
        empty.execute(["train"])


def test_methods_that_are_not_compared_are_not_trained(tmp_path: Path) -> None:
    settings = small_settings(evaluation={"methods": ["random", "o2o-drl"]})
    run = pipeline(tmp_path, settings)
    run.execute(TRAINED)
    assert not find_models(run.db, run.run, method="online-only")
    assert {s.plan.method for s in find_episodes(run.db, run.run, phase="evaluate")} == {"random", "o2o-drl"}


def test_heuristics_alone_can_be_evaluated_at_once(tmp_path: Path) -> None:
    run = pipeline(tmp_path, small_settings(evaluation={"methods": ["random", "ratc"]}))
    run.execute(["evaluate"])
    assert len(find_episodes(run.db, run.run, phase="evaluate")) == 4


def test_checkpoints_are_evenly_spaced_and_end_with_the_last_step() -> None:
    assert checkpoint_steps(small_settings(offline={"steps": 100, "checkpoints": 3})) == [25, 50, 75, 100]
    assert checkpoint_steps(small_settings(offline={"steps": 100, "checkpoints": 0})) == [100]
    assert checkpoint_steps(small_settings(offline={"steps": 2, "checkpoints": 5})) == [1, 2]


def test_tensorboard_events_can_be_made_again_from_the_database(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from trainer.events import write_events

    run = pipeline(tmp_path, small_settings())
    run.execute(TRAINED)
    for _ in range(2):
        write_events(run.db, run.run, tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [point.step for point in events.Scalars("offline/q_loss")] == list(range(1, 8))
    assert [point.step for point in events.Scalars("online/o2o-drl/critic_loss")] == [1, 2]
    assert len(events.Scalars("success_rate/evaluate/random")) == 2
