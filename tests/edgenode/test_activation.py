"""Tests that a node rejects damaged and unsuitable models, and survives the errors of other packages' schedulers."""

import importlib.metadata
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from edgenode import schedulers
from edgenode.activation import Activation, ActivationError, ModelUnavailable
from edgenode.identity import NodeIdentity
from middleware.configuration import LiveSettings
from middleware.configuration.watching import watch_record
from middleware.database import Database
from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.storage import open_storage, publish_model
from offload import Choice, draw_network, make_profile, resolve_settings
from trainer.export import actor_to_onnx
from trainer.networks import mlp

SETTINGS = resolve_settings([{"network": {"nodes": 3}, "time": {"slots": 8}}])
WIDER = resolve_settings([{"network": {"nodes": 4}, "time": {"slots": 8}}])


@pytest.fixture
def storage(tmp_path):
    db = Database.connect(f"sqlite:///{tmp_path}/a.db")
    db.migrate()
    return open_storage(f"file:{tmp_path}/storage", db)


def activation_of(storage, settings=SETTINGS) -> Activation:
    network = draw_network(settings.network, settings.seed, 0)
    return Activation(
        NodeIdentity("r", "0" * 32, 1, network, settings, make_profile(settings), lambda _: None), storage
    )


def publish(storage, version, settings=SETTINGS, content=None, run="r", **changes) -> None:
    profile = make_profile(settings)
    fields = {
        "version": version,
        "algorithm": "sac-cql",
        "profile": profile.to_json(),
        "actions": profile.nodes + 1,
        "observation_size": profile.size,
        "reward_mean": 0.0,
        "reward_std": 1.0,
        "parent": None,
        "steps": 1,
    }
    torch.manual_seed(0)
    actor = actor_to_onnx(mlp(profile.size, (8,), profile.nodes + 1)) if content is None else content
    publish_model(storage, run, {**fields, **changes}, {"actor.onnx": actor})


def live(revision, name, model=None, **parameters) -> LiveSettings:
    scheduler = {"name": name, "parameters": parameters, "model": model}
    return LiveSettings(revision, {"scheduler": scheduler, "log_level": "INFO"}, "test", 0.0)


def refusal(activation, record) -> str:
    """The message of the rejection; the previous scheduler stays active."""
    before = activation.current
    with pytest.raises(ActivationError) as refused:
        activation.apply(record)
    assert activation.current is before and activation.problem == str(refused.value)
    return str(refused.value)


def test_another_runs_model_is_taken_where_it_fits(storage):
    activation = activation_of(storage)
    publish(storage, "m1", run="before")
    activation.apply(live(1, "drl", "before/m1"))
    assert (activation.current.choice.name, activation.current.model, activation.refused) == ("drl", "before/m1", None)
    publish(storage, "m1", WIDER, run="wider")
    assert "the model has 5, this network needs 4" in refusal(activation, live(2, "drl", "wider/m1"))
    assert activation.refused == 2
    assert "there is no model m1 of run 'nobody'" in refusal(activation, live(3, "drl", "nobody/m1"))
    activation.apply(live(4, "ratc"))
    assert activation.refused is None


def test_only_schedulers_with_an_actor_name_the_model(storage):
    """PPO trains on records that name a model: a heuristic's choice must not name one."""
    activation = activation_of(storage)
    publish(storage, "m1")
    for revision, (name, expected) in enumerate(
        [("drl", "m1"), ("ratc", None), ("drl-probe", "m1"), ("random", None)], 1
    ):
        activation.apply(live(revision, name, "m1"))
        assert (activation.current.choice.name, activation.current.model) == (name, expected)


def test_an_older_revision_changes_nothing(storage):
    activation = activation_of(storage)
    activation.apply(live(5, "random"))
    activation.apply(live(4, "local"))
    assert activation.current.choice.name == "random"


def test_unfit_or_damaged_model_is_refused_with_the_reason(storage, tmp_path):
    activation = activation_of(storage)
    activation.apply(live(1, "random"))
    publish(storage, "other-n", WIDER)
    said = refusal(activation, live(2, "drl", "other-n"))
    assert "other-n" in said and "nodes: the model's is 4, this network's is 3" in said
    publish(storage, "other-maxima", resolve_settings([{"network": {"nodes": 3}, "tasks": {"deadline_s": 7.0}}]))
    assert "maximum of deadline_s" in refusal(activation, live(3, "drl", "other-maxima"))
    publish(storage, "garbage", content=b"not an ONNX file")
    assert "not an ONNX model" in refusal(activation, live(4, "drl", "garbage"))
    assert "absent" in refusal(activation, live(5, "drl", "absent"))
    publish(storage, "tampered")
    (file,) = tmp_path.rglob("tampered/actor.onnx")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "actor.onnx" in refusal(activation, live(6, "drl", "tampered"))
    file.write_bytes(content[:-100])
    assert "actor.onnx" in refusal(activation, live(7, "drl", "tampered"))


def test_actor_with_other_size_than_its_manifest_is_refused(storage):
    """If only the manifest were checked, the tasks of the first slots would be lost."""
    activation = activation_of(storage)
    activation.apply(live(1, "random"))
    narrow = make_profile(SETTINGS)
    for version, shape in (("inputs", (narrow.size - 1, narrow.nodes + 1)), ("outputs", (narrow.size, narrow.nodes))):
        publish(storage, version, content=actor_to_onnx(mlp(shape[0], (8,), shape[1])))
        assert version in refusal(activation, live(2, "drl", version))


def test_an_actor_that_gives_no_numbers_is_refused(storage):
    activation = activation_of(storage)
    profile = make_profile(SETTINGS)
    diverged = mlp(profile.size, (8,), profile.nodes + 1)
    with torch.no_grad():
        diverged[-1].bias[:] = float("nan")
    publish(storage, "nan", content=actor_to_onnx(diverged))
    assert "not finite" in refusal(activation, live(1, "drl", "nan"))


@dataclass(frozen=True, eq=False)
class _Broken:
    context: object
    how: str = "raises"
    enough_reports: None = field(default=None, init=False)

    def probes(self, states, draws):
        return np.zeros((1, 0), dtype=np.int64)

    def choose(self, states, reports, draws):
        if self.how == "raises":
            raise ZeroDivisionError("division by zero")
        return Choice.of(np.array([states.nodes]), states.nodes)


@pytest.mark.parametrize(
    ("how", "reason"), [("raises", "ZeroDivisionError"), ("nowhere", "destination 3 must be a node, 0 … 2")]
)
def test_a_scheduler_that_cannot_decide_is_refused_whatever_it_raises(storage, monkeypatch, how, reason):
    entry = importlib.metadata.EntryPoint("broken", f"{__name__}:_Broken", schedulers.GROUP)
    entries = [*importlib.metadata.entry_points(group=schedulers.GROUP), entry]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    activation = activation_of(storage)
    activation.apply(live(1, "random"))
    assert reason in refusal(activation, live(2, "broken", how=how))


class SlowStorage:
    """A storage that answers when the test releases it, like a name node that was frozen."""

    def __init__(self, storage) -> None:
        self.storage, self.answers = storage, threading.Event()

    def read(self, path: str) -> bytes:
        assert self.answers.wait(30)
        return self.storage.read(path)


def test_requests_do_not_pile_up_behind_a_model_that_does_not_come(storage):
    publish(storage, "m1")
    slow = SlowStorage(storage)
    activation = activation_of(slow)
    activation.apply(live(1, "ratc"))
    record = live(2, "drl", "m1")
    fetching = threading.Thread(target=activation.apply, args=(record,))
    fetching.start()
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="revision 2 is being applied"):
            activation.catch_up(lambda: record, 2, 0.1)
    assert activation.current.choice.name == "ratc"
    slow.answers.set()
    assert activation.catch_up(lambda: record, 2, 20.0).choice.name == "drl"
    fetching.join()


class AwayStorage:
    """A storage that is unavailable until the test says otherwise."""

    def __init__(self, storage) -> None:
        self.storage, self.unavailable = storage, True

    def read(self, path: str) -> bytes:
        if self.unavailable:
            raise ServiceUnavailable("hdfs+http://x:9870/offload has been unavailable for 20 s")
        return self.storage.read(path)


def test_model_that_the_storage_refuses_is_refused_at_once(storage):
    """Waiting would not help: the controller goes on with the fallback scheduler, or stops with the reason."""

    class Refusing:
        def read(self, path: str) -> bytes:
            raise ServiceRefused(f"reading {path}: hdfs+http://x:9870/offload refuses it")

    activation = activation_of(Refusing())
    activation.apply(live(1, "ratc"))
    assert "hdfs+http://x:9870/offload refuses it" in refusal(activation, live(2, "drl", "m1"))
    assert activation.refused == 2


def test_model_is_activated_when_the_storage_is_available_again(storage):
    publish(storage, "m1")
    flapping = AwayStorage(storage)
    activation = activation_of(flapping)
    activation.apply(live(1, "ratc"))
    record, brought = live(2, "drl", "m1"), []

    def bring(record: LiveSettings) -> None:
        brought.append(record.revision)
        activation.apply(record)

    stop = watch_record(lambda: record, bring, 0.01)
    until = time.monotonic() + 20
    while len(brought) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert activation.current.choice.name == "ratc"
    assert "waits" in activation.problem
    assert "has been unavailable for 20 s" in activation.problem
    flapping.unavailable = False
    while activation.current.revision < 2 and time.monotonic() < until:
        time.sleep(0.01)
    stop()
    assert (activation.current.choice.name, activation.problem) == ("drl", None)
    assert set(brought) == {2}


def test_a_revision_that_waits_after_a_refused_one_is_logged_and_not_acknowledged_as_refused(storage, caplog):
    flapping = AwayStorage(storage)
    activation = activation_of(flapping)
    activation.apply(live(1, "ratc"))
    refusal(activation, live(2, "nobody"))
    assert activation.refused == 2
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            activation.apply(live(3, "drl", "m1"))
    assert activation.refused is None
    assert caplog.text.count("revision 3 (drl, model m1) waits: ") == 1
