"""The settings of an experiment: one model, validated once, with units parsed at the edge.

Layers (weakest first): defaults < preset < file < configuration service < environment < command line. The layers are
plain nested dictionaries; `resolve_settings` merges them and validates the result. Unknown keys are refused.

`scheduler` and `log_level` are the *hot keys*: they change in a running system. Everything else is fixed for a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from offload.addresses import checked_url
from offload.addresses import redacted as redacted
from offload.draws import MAX_SEED
from offload.errors import UserError
from offload.explanations import Origin, explain
from offload.limits import (
    LONGEST_DEADLINE_S,
    LONGEST_SLOT_S,
    LONGEST_TIMEOUT_S,
    MAX_SLOTS,
    MOST_BITS,
    MOST_CYCLES,
    MOST_PER_S,
    SHORTEST_TIMEOUT_S,
)
from offload.units import Bits, BitsPerSecond, CyclesPerBit, FailuresPerSecond, Hertz, Seconds

_DEVICE = r"^(auto|cpu|mps|cuda(:[0-9]+)?)$"
_MODEL = re.compile(r"(?:(?!\.{1,2}/)[^/]+/)*[A-Za-z0-9][A-Za-z0-9._-]*")


class SettingsError(UserError, ValueError):
    """Settings that cannot be used. The message has a line per problem: the key's path, the value, what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = pair
    if not 0 <= low <= high:
        raise ValueError(f"[{low:g}, {high:g}] is not a range; write [low, high] with 0 <= low <= high")
    return pair


def _positive(pair: tuple[float, float]) -> tuple[float, float]:
    if _ordered(pair)[0] <= 0:
        raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] must lie above 0")
    return pair


def _device(name: str) -> str:
    if not re.match(_DEVICE, name):
        raise ValueError(f"{name!r} is not a device; write auto, cpu, mps, cuda, or cuda:0 for a certain one")
    return name


def _model(name: str) -> str:
    if not (_MODEL.fullmatch(name) and name.isprintable()):
        raise ValueError(f"{name!r} is not a model; write VERSION or RUN/VERSION, for example offline or demo/offline")
    return name


def _probability(pair: tuple[float, float]) -> tuple[float, float]:
    if _ordered(pair)[1] > 1:
        raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] are not probabilities; they lie between 0 and 1")
    return pair


def _at_most(most: float) -> AfterValidator:
    """For a range: neither end is above `most`."""

    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if pair[1] > most:
            raise ValueError(f"[{pair[0]:g}, {pair[1]:g}] must lie below or at {most:g}")
        return pair

    return AfterValidator(check)


class NetworkSettings(_Section):
    """How networks are drawn: every value uniform in its range, the number of cores from the list."""

    nodes: int = Field(10, ge=1, le=1000, description="N, the number of edge nodes")
    cores: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        (4, 8, 12, 16, 20, 24, 28, 32), min_length=1, description="the numbers of cores a node may have"
    )
    core_frequency_hz: Annotated[Hertz, Field(gt=0, le=1e12)] = Field(
        3e9, description="of one core; capacity F = cores x this"
    )
    arrival_probability: Annotated[tuple[float, float], AfterValidator(_probability)] = Field(
        (0.0, 1.0), description="range of λ_i, per slot"
    )
    failure_rate: Annotated[
        tuple[FailuresPerSecond, FailuresPerSecond], AfterValidator(_ordered), _at_most(MOST_PER_S)
    ] = Field((0.0, 0.4), description="range of α_i, execution failures per second")
    rate_bps: Annotated[tuple[BitsPerSecond, BitsPerSecond], AfterValidator(_positive), _at_most(MOST_PER_S)] = Field(
        (80e6, 320e6), description="range of r_ij"
    )
    link_failure_rate: Annotated[
        tuple[FailuresPerSecond, FailuresPerSecond], AfterValidator(_ordered), _at_most(MOST_PER_S)
    ] = Field((0.0, 0.03), description="range of β_ij, transmission failures per second")
    index: int = Field(0, ge=0, description="which of the seed's networks")


class TaskSettings(_Section):
    """How tasks are drawn: size and complexity uniform in their ranges."""

    size_bits: Annotated[tuple[Bits, Bits], AfterValidator(_positive), _at_most(MOST_BITS)] = Field(
        (4e6, 20e6), description="range of s_i"
    )
    complexity_cycles_per_bit: Annotated[tuple[CyclesPerBit, CyclesPerBit], AfterValidator(_positive)] = Field(
        (400.0, 800.0), description="range of c_i / s_i"
    )
    deadline_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] = Field(
        1.0, description="d_i, from the planned instant of the slot"
    )

    @model_validator(mode="after")
    def _countable(self) -> Self:
        most = self.size_bits[1] * self.complexity_cycles_per_bit[1]
        if most > MOST_CYCLES:
            raise ValueError(
                f"size_bits and complexity_cycles_per_bit make tasks of up to {most:g} cycles; at most {MOST_CYCLES:g} are possible"
            )
        return self


class TimeSettings(_Section):
    """The slotted clock."""

    slot_s: Annotated[Seconds, Field(gt=0, le=LONGEST_SLOT_S)] = Field(
        0.1, description="Δ, the duration of a time slot"
    )
    slots: int = Field(50, ge=1, le=MAX_SLOTS, description="T, slots in an episode")
    time_scale: float = Field(1.0, gt=0, le=100, description="model seconds per real second")
    failure_timing: Literal["end", "event"] = Field("end", description="when a failure shows and frees its resource")


_TIMEOUT = Field(ge=SHORTEST_TIMEOUT_S, le=LONGEST_TIMEOUT_S)


class NodeSettings(_Section):
    """What an edge node runs and how it speaks to its peers."""

    profile: str = Field("default", description="observation profile: default or paper")
    application: str = Field(
        "emulated", description="emulated, cpu, or a name of the entry points offload.applications"
    )
    transfer: Literal["emulated", "payload"] = Field(
        "emulated", description="wait the model's time, or send real bytes"
    )
    overload_threshold_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] | None = Field(
        None, description="execution backlog above which the overload bit is set; a quarter of the deadline by default"
    )
    overload_refresh_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] = Field(
        5.0, description="period of repeating the overload bit"
    )
    probe_timeout_s: Annotated[Seconds, _TIMEOUT] = Field(0.1, description="a peer that has not answered is excluded")
    request_timeout_s: Annotated[Seconds, _TIMEOUT] = Field(2.0, description="of every other call between pods")
    write_interval_s: Annotated[Seconds, _TIMEOUT] = Field(2.0, description="between two batches to the database")


class SchedulerSettings(_Section):
    """Hot: which scheduler decides, and its parameters."""

    name: str = Field("ratc", min_length=1, description="a name of the entry points offload.schedulers")
    parameters: dict[str, float | int | bool | str] = Field({}, description="the scheduler's own parameters")
    model: Annotated[str, AfterValidator(_model)] | None = Field(
        None,
        max_length=64,
        description="version of the actor, or RUN/VERSION of another run's, for schedulers that have one",
    )


class OfflineSettings(_Section):
    """Collection of a heuristic's logs, and offline training; `sac-cql` is discrete SAC + CQL (eq. 10–12)."""

    algorithm: str = Field(
        "sac-cql", min_length=1, description="a name of the entry points offload.algorithms that trains offline"
    )
    parameters: dict[str, float | int | bool | str] = Field(
        {}, description="of an algorithm that has its own; those of sac-cql are keys of this section"
    )
    heuristic: str = Field("ratc", description="the scheduler whose logs are learned from")
    dataset: str | None = Field(None, description="id of a Minari data set to learn from; no logs are collected then")
    episodes: int = Field(200, ge=1, description="episodes of the heuristic to collect")
    steps: int = Field(1500, ge=1, description="gradient steps")
    batch_slots: int = Field(128, ge=1, description="time slots in a minibatch, each with the rows of all N nodes")
    buffer_slots: int = Field(1_000_000, ge=1, description="time slots that the replay buffer holds; the newest stay")
    learning_rate: float = Field(3e-4, gt=0, description="of Adam, for all networks")
    discount: float = Field(0.99, ge=0, lt=1, description="γ")
    soft_update: float = Field(5e-4, gt=0, le=1, description="τ of the target Q networks")
    entropy: Literal["fixed", "adaptive"] = Field(
        "fixed", description="whether α is fixed or tuned to a target entropy"
    )
    entropy_weight: float = Field(0.05, ge=0, description="α, or its start when adaptive")
    target_entropy_share: float = Field(
        0.95, gt=0, le=1, description="of the entropy of the uniform policy, adaptive only"
    )
    cql_weight: float = Field(0.1, ge=0, description="λ_c of the CQL regularizer")
    reward_normalization: Literal["dataset", "batch", "none"] = Field(
        "dataset", description="z-score of the team reward"
    )
    gradient_clip: float | None = Field(None, gt=0, description="norm; none by default")
    checkpoints: int = Field(3, ge=0, description="intermediate actors that are played for the learning curve")
    checkpoint_episodes: int = Field(3, ge=1, description="episodes that each of them plays")


class OnlineSettings(_Section):
    """Online fine-tuning; `ppo` is PPO with GAE (eq. 13–19)."""

    algorithm: str = Field(
        "ppo", min_length=1, description="a name of the entry points offload.algorithms that trains online"
    )
    parameters: dict[str, float | int | bool | str] = Field(
        {}, description="of an algorithm that has its own; those of ppo are keys of this section"
    )
    episodes: int = Field(50, ge=0, description="episodes to play in all")
    episodes_per_update: int = Field(10, ge=1, description="episodes that one update trains on")
    epochs: int = Field(4, ge=1, description="K, passes over the data of an update")
    minibatch_rows: int | None = Field(2048, ge=1, description="decision rows in a minibatch; null: all")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam, for actor and critic")
    learning_rate_decay: bool = Field(True, description="linear to zero over all updates")
    discount: float = Field(0.95, ge=0, lt=1, description="γ")
    gae_lambda: float = Field(0.9, ge=0, le=1, description="λ of eq. 13")
    clip: float = Field(0.2, gt=0, lt=1, description="ε of eq. 18")
    entropy_bonus: float = Field(0.0, ge=0, description="weight of the entropy in the actor's objective")
    normalize_advantages: bool = Field(True, description="z-score over the data of an update")
    decisions_only: bool = Field(True, description="the actor's loss counts slots with a task only")
    gradient_clip: float | None = Field(1.0, gt=0, description="norm, per network; null: none")
    reward_normalization: Literal["stored", "batch", "none"] = Field(
        "stored", description="stored: the statistics of the offline data; batch: of the update's own episodes"
    )
    repeats: int = Field(
        3, ge=0, description="times that a mixed or incomplete episode is repeated before the run stops"
    )


class LearnerSettings(_Section):
    """The networks of actor, critic and Qs, and where they train."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((64, 64), description="widths of the hidden layers")
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="auto, cpu, cuda, cuda:N or mps", json_schema_extra={"pattern": _DEVICE}
    )


class EvaluationSettings(_Section):
    """The paired comparison."""

    methods: tuple[str, ...] = Field(
        ("random", "rda", "rda-tuned", "ratc", "sed", "offline-only", "online-only", "o2o-drl"),
        min_length=1,
        description="names of schedulers, and offline-only, online-only, o2o-drl",
    )
    episodes: int = Field(20, ge=1, description="traces that every method plays")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the intervals")


def _url(service: str) -> AfterValidator:
    return AfterValidator(partial(checked_url, service))


class ServiceSettings(_Section):
    """The middleware's adapters, chosen by URL."""

    database: Annotated[str, _url("database")] = Field(
        "sqlite:///.offload/offload.db",
        description="sqlite:///PATH or mysql+pymysql://user@host:port/name[?ssl_ca=FILE]; the password in OFFLOAD_DATABASE_PASSWORD",
    )
    storage: Annotated[str, _url("storage")] = Field(
        "file:.offload/storage",
        description="file:PATH, database:, or hdfs+http://[user@]host:9870[,host2:9870]/path (hdfs+https://…?authority=FILE)",
    )
    registry: Annotated[str, _url("registry")] = Field(
        "database:", description="database:, or nacos://[user:password@]host:8848[/namespace][?group=name]"
    )
    configuration: Annotated[str, _url("configuration")] = Field(
        "file:",
        description="file:, file:PATH, or nacos://… as of the registry; edits of the hot keys, there too, are applied",
    )


class Settings(_Section):
    """All settings of one experiment. See `docs/configuration.md`."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = Field(1, description="keys every random draw")
    network: NetworkSettings = NetworkSettings()
    tasks: TaskSettings = TaskSettings()
    time: TimeSettings = TimeSettings()
    node: NodeSettings = NodeSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    fallback_scheduler: str = Field(
        "ratc",
        min_length=1,
        description="decides instead where nodes refuse the scheduler that is set, as an actor for another N",
    )
    kept_episodes: int = Field(
        1000,
        ge=10,
        description="continuous episodes whose records are kept; older ones are deleted, those of pipelines never",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="hot: of every pod's log")
    learner: LearnerSettings = LearnerSettings()
    offline: OfflineSettings = OfflineSettings()
    online: OnlineSettings = OnlineSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    services: ServiceSettings = ServiceSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.online.episodes % self.online.episodes_per_update:
            raise ValueError(
                f"online.episodes = {self.online.episodes} is not a multiple of "
                f"online.episodes_per_update = {self.online.episodes_per_update}"
            )
        return self

    @property
    def overload_threshold_s(self) -> float:
        """The overload bit's threshold in seconds of execution backlog."""
        chosen = self.node.overload_threshold_s
        return self.tasks.deadline_s / 4 if chosen is None else chosen

    def hot(self) -> dict[str, Any]:
        """The hot keys with their values."""
        return {"scheduler": self.scheduler.model_dump(mode="json"), "log_level": self.log_level}

    def experiment(self) -> dict[str, Any]:
        """What defines a run's results: everything but the services (their addresses may move, and hold secrets)."""
        return self.model_dump(mode="json", exclude={"services"})


_NAMED = (
    ("scheduler", "name", None),
    ("offline", "algorithm", OfflineSettings().algorithm),
    ("online", "algorithm", OnlineSettings().algorithm),
)
"""Sections whose `parameters` belong to what a key of theirs names, and what it names where no layer says."""


def merge_layers(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested dictionaries merged, later ones win.

    The `parameters` of a scheduler or an algorithm are replaced whole when its name changes.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, key, default in _NAMED:
            here, before = layer.get(section), merged.get(section)
            if isinstance(here, Mapping) and key in here and isinstance(before, dict):
                if here[key] != before.get(key, default):
                    before.pop("parameters", None)
        _merge_into(merged, layer)
    return merged


def _merge_into(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge_into(target[key], value)
        else:
            target[key] = dict(merge_layers([value])) if isinstance(value, Mapping) else value


def resolve_settings(layers: Iterable[Mapping[str, Any]], origin: Origin = lambda path: None) -> Settings:
    """The settings that the layers (weakest first) make together. origin: where the value of a path was written, for messages.

    Raises SettingsError with a line per problem: path, value, what would be right.
    """
    try:
        return Settings.model_validate(merge_layers(layers))
    except ValidationError as invalid:
        raise SettingsError(explain(invalid, Settings, origin)) from None
