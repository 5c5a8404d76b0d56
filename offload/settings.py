"""Defines the settings of an experiment, and merges and validates them.

Layers, weakest first: defaults, preset, file, environment, command line. A layer is a nested
dictionary. `resolve_settings` merges the layers, parses quantities with units, and rejects unknown keys.

`scheduler` and `log_level` are the *live settings*: they can change in a running system. Everything else is fixed for
a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from offload.addresses import redacted as redacted
from offload.checks import DEVICE, at_most, device_name, model_name, ordered, positive, probabilities, url_of
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
from offload.scheduler_choice import ParameterValue, SchedulerChoice
from offload.units import Bits, BitsPerSecond, CyclesPerBit, FailuresPerSecond, Hertz, Seconds


class SettingsError(UserError, ValueError):
    """Settings that cannot be used. The message has a line per problem: key, value, and what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class NetworkSettings(_Section):
    """How networks are drawn: each value uniformly from its range, the number of cores from the list."""

    nodes: int = Field(10, ge=1, le=1000, description="N, the number of edge nodes")
    cores: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(
        (4, 8, 12, 16, 20, 24, 28, 32), min_length=1, description="the numbers of cores a node may have"
    )
    core_frequency_hz: Annotated[Hertz, Field(gt=0, le=1e12)] = Field(
        3e9, description="clock rate of one core; capacity F = cores x this"
    )
    arrival_probability: Annotated[tuple[float, float], AfterValidator(probabilities)] = Field(
        (0.0, 1.0), description="range of λ_i, per slot"
    )
    failure_rate: Annotated[
        tuple[FailuresPerSecond, FailuresPerSecond], AfterValidator(ordered), at_most(MOST_PER_S)
    ] = Field((0.0, 0.4), description="range of α_i, execution failures per second")
    rate_bps: Annotated[tuple[BitsPerSecond, BitsPerSecond], AfterValidator(positive), at_most(MOST_PER_S)] = Field(
        (80e6, 320e6), description="range of r_ij"
    )
    link_failure_rate: Annotated[
        tuple[FailuresPerSecond, FailuresPerSecond], AfterValidator(ordered), at_most(MOST_PER_S)
    ] = Field((0.0, 0.03), description="range of β_ij, transmission failures per second")
    index: int = Field(0, ge=0, description="index of the network among those drawn from the seed")


class TaskSettings(_Section):
    """How tasks are drawn: size and complexity uniformly from their ranges."""

    size_bits: Annotated[tuple[Bits, Bits], AfterValidator(positive), at_most(MOST_BITS)] = Field(
        (4e6, 20e6), description="range of s_i"
    )
    complexity_cycles_per_bit: Annotated[tuple[CyclesPerBit, CyclesPerBit], AfterValidator(positive)] = Field(
        (400.0, 800.0), description="range of c_i / s_i"
    )
    deadline_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] = Field(
        1.0, description="d_i, counted from the planned instant of the slot"
    )

    @model_validator(mode="after")
    def _countable(self) -> Self:
        most = self.size_bits[1] * self.complexity_cycles_per_bit[1]
        if most > MOST_CYCLES:
            raise ValueError(
                f"size_bits and complexity_cycles_per_bit give tasks of up to {most:g} cycles; "
                f"at most {MOST_CYCLES:g} are possible"
            )
        return self


class TimeSettings(_Section):
    """The slotted clock."""

    slot_s: Annotated[Seconds, Field(gt=0, le=LONGEST_SLOT_S)] = Field(
        0.1, description="Δ, the duration of a time slot"
    )
    slots: int = Field(50, ge=1, le=MAX_SLOTS, description="T, slots in an episode")
    time_scale: float = Field(1.0, gt=0, le=100, description="model seconds per real second")
    failure_timing: Literal["end", "event"] = Field(
        "end",
        description="when a failed task frees its resource: at the planned end, or at the instant of the failure",
    )


_TIMEOUT = Field(ge=SHORTEST_TIMEOUT_S, le=LONGEST_TIMEOUT_S)


class NodeSettings(_Section):
    """What an edge node runs, and how it communicates with other nodes."""

    profile: str = Field("default", description="observation profile: default or paper")
    application: str = Field(
        "emulated",
        description="executes tasks: emulated, cpu, or another name in the entry-point group offload.applications",
    )
    transfer: Literal["emulated", "payload"] = Field(
        "emulated", description="emulated: wait for the modelled time; payload: send real bytes"
    )
    overload_threshold_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] | None = Field(
        None, description="execution backlog above which the overload bit is set; a quarter of the deadline by default"
    )
    overload_refresh_s: Annotated[Seconds, Field(gt=0, le=LONGEST_DEADLINE_S)] = Field(
        5.0, description="interval at which the overload bit is sent again"
    )
    probe_timeout_s: Annotated[Seconds, _TIMEOUT] = Field(
        0.1, description="time-out of a probe; a peer that has not answered by then is excluded"
    )
    request_timeout_s: Annotated[Seconds, _TIMEOUT] = Field(
        2.0, description="time-out of every other request between pods"
    )
    write_interval_s: Annotated[Seconds, _TIMEOUT] = Field(
        2.0, description="interval between two batches of records to the database"
    )


class SchedulerSettings(_Section):
    """Live setting: which scheduler decides, its parameters, and its model."""

    name: str = Field("ratc", min_length=1, description="name of an entry point in the group offload.schedulers")
    parameters: dict[str, ParameterValue] = Field({}, description="the scheduler's own parameters")
    model: Annotated[str, AfterValidator(model_name)] | None = Field(
        None,
        max_length=64,
        description="version of the actor, or RUN/VERSION of another run's actor; for schedulers that use one",
    )

    @property
    def choice(self) -> SchedulerChoice:
        """What this section chooses."""
        return SchedulerChoice(self.name, self.parameters, self.model)


class OfflineSettings(_Section):
    """Collecting a heuristic's logs, and offline training; `sac-cql` is discrete SAC + CQL (eq. 10–12)."""

    algorithm: str = Field(
        "sac-cql",
        min_length=1,
        description="name of an entry point in the group offload.algorithms; the algorithm must train offline",
    )
    parameters: dict[str, ParameterValue] = Field(
        {},
        description="parameters of an algorithm that defines its own; those of sac-cql are the keys of this section",
    )
    heuristic: str = Field("ratc", description="scheduler whose logs are collected for offline training")
    dataset: str | None = Field(None, description="id of a Minari data set to train on; then the run collects no logs")
    episodes: int = Field(200, ge=1, description="episodes to collect with the heuristic")
    steps: int = Field(1500, ge=1, description="gradient steps")
    batch_slots: int = Field(128, ge=1, description="time slots in a minibatch, each with the rows of all N nodes")
    buffer_slots: int = Field(
        1_000_000, ge=1, description="capacity of the replay buffer in time slots; the newest are kept"
    )
    learning_rate: float = Field(3e-4, gt=0, description="learning rate of Adam, for all networks")
    discount: float = Field(0.99, ge=0, lt=1, description="γ")
    soft_update: float = Field(5e-4, gt=0, le=1, description="τ of the target Q networks")
    entropy: Literal["fixed", "adaptive"] = Field(
        "fixed", description="whether α is fixed or tuned to a target entropy"
    )
    entropy_weight: float = Field(0.05, ge=0, description="α, or its initial value when it is adaptive")
    target_entropy_share: float = Field(
        0.95, gt=0, le=1, description="target entropy as a share of the uniform policy's entropy; adaptive α only"
    )
    cql_weight: float = Field(0.1, ge=0, description="λ_c of the CQL regularizer")
    reward_normalization: Literal["dataset", "batch", "none"] = Field(
        "dataset", description="the data from which the z-score of the team reward is computed; none: no z-score"
    )
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of a gradient; null: no clipping")
    checkpoints: int = Field(3, ge=0, description="number of intermediate actors evaluated for the learning curve")
    checkpoint_episodes: int = Field(3, ge=1, description="episodes played with each of these actors")


class OnlineSettings(_Section):
    """Online fine-tuning; `ppo` is PPO with GAE (eq. 13–19)."""

    algorithm: str = Field(
        "ppo",
        min_length=1,
        description="name of an entry point in the group offload.algorithms; the algorithm must train online",
    )
    parameters: dict[str, ParameterValue] = Field(
        {}, description="parameters of an algorithm that defines its own; those of ppo are the keys of this section"
    )
    episodes: int = Field(50, ge=0, description="episodes to play in total")
    episodes_per_update: int = Field(10, ge=1, description="episodes that one update trains on")
    epochs: int = Field(4, ge=1, description="K, passes over the data of an update")
    minibatch_rows: int | None = Field(2048, ge=1, description="decision rows in a minibatch; null: all")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam, for actor and critic")
    learning_rate_decay: bool = Field(True, description="decrease the learning rate linearly to zero over all updates")
    discount: float = Field(0.95, ge=0, lt=1, description="γ")
    gae_lambda: float = Field(0.9, ge=0, le=1, description="λ of eq. 13")
    clip: float = Field(0.2, gt=0, lt=1, description="ε of eq. 18")
    entropy_bonus: float = Field(0.0, ge=0, description="weight of the entropy in the actor's objective")
    normalize_advantages: bool = Field(True, description="use the z-score of the advantages over the data of an update")
    decisions_only: bool = Field(True, description="the actor's loss uses only slots with a task")
    gradient_clip: float | None = Field(
        1.0, gt=0, description="largest norm of a network's gradient; null: no clipping"
    )
    reward_normalization: Literal["stored", "batch", "none"] = Field(
        "stored",
        description="stored: with the statistics of the offline data; batch: with those of the update's own episodes",
    )
    repeats: int = Field(
        3, ge=0, description="how often a mixed or incomplete episode is repeated before the run stops"
    )


class LearnerSettings(_Section):
    """The neural networks (actor, critic, Q functions), and the device that trains them."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((64, 64), description="widths of the hidden layers")
    device: Annotated[str, AfterValidator(device_name)] = Field(
        "auto", description="auto, cpu, cuda, cuda:N or mps", json_schema_extra={"pattern": DEVICE}
    )


class EvaluationSettings(_Section):
    """The paired comparison of methods."""

    methods: tuple[str, ...] = Field(
        ("random", "rda", "rda-tuned", "ratc", "sed", "offline-only", "online-only", "o2o-drl"),
        min_length=1,
        description="schedulers to compare; offline-only, online-only and o2o-drl are the actors that this run trains",
    )
    episodes: int = Field(20, ge=1, description="number of traces; every method plays each of them")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence level of the intervals")


class ServiceSettings(_Section):
    """The URLs of the services. A URL's scheme selects the adapter."""

    database: Annotated[str, url_of("database")] = Field(
        "sqlite:///.offload/offload.db",
        description=(
            "sqlite:///PATH or mysql+pymysql://user@host:port/name[?ssl_ca=FILE]; "
            "the password is in OFFLOAD_DATABASE_PASSWORD"
        ),
    )
    storage: Annotated[str, url_of("storage")] = Field(
        "file:.offload/storage",
        description=(
            "file:PATH, database:, or hdfs+http://[user@]host:9870[,host2:9870]/path (hdfs+https://…?authority=FILE)"
        ),
    )
    registry: Annotated[str, url_of("registry")] = Field(
        "database:",
        description=(
            "database:, or nacos://[user@]host:8848[/namespace][?group=name]; the password is in OFFLOAD_NACOS_PASSWORD"
        ),
    )
    configuration: Annotated[str, url_of("configuration")] = Field(
        "file:",
        description=(
            "file:, file:PATH, or nacos://… in the same form as the registry URL; "
            "edits of the live settings in the file or in Nacos are applied"
        ),
    )


class Settings(_Section):
    """All settings of one experiment, as `docs/configuration.md` lists them."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = Field(1, description="keys every random draw")
    network: NetworkSettings = NetworkSettings()
    tasks: TaskSettings = TaskSettings()
    time: TimeSettings = TimeSettings()
    node: NodeSettings = NodeSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    fallback_scheduler: str = Field(
        "ratc",
        min_length=1,
        description=(
            "used when nodes reject the configured scheduler (for example an actor trained for another N); "
            "must be one without a model"
        ),
    )
    kept_episodes: int = Field(
        1000,
        ge=10,
        description=(
            "number of episodes with continuous arrivals whose records are kept; older ones are deleted, "
            "episodes of a pipeline never"
        ),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="live setting: lowest severity that a pod logs"
    )
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

    def live(self) -> dict[str, Any]:
        """The live settings with their values."""
        return {"scheduler": self.scheduler.choice.to_json(), "log_level": self.log_level}

    def without_model(self, scheduler: str) -> SchedulerChoice:
        """The choice of a scheduler without a model. The configured scheduler keeps its configured parameters."""
        chosen = self.scheduler
        return SchedulerChoice(scheduler, chosen.parameters if chosen.name == scheduler else {})

    def experiment(self) -> dict[str, Any]:
        """What defines a run's results: everything but the services, whose addresses may change and contain secrets."""
        return self.model_dump(mode="json", exclude={"services"})

    def fixed(self) -> dict[str, Any]:
        """What must stay the same while a run lasts: `experiment()` without the live settings."""
        live = self.live()
        return {key: value for key, value in self.experiment().items() if key not in live}


_NAMED = (
    ("scheduler", "name", None),
    ("offline", "algorithm", OfflineSettings().algorithm),
    ("online", "algorithm", OnlineSettings().algorithm),
)
"""Sections with `parameters`: the section, the key that names the class the parameters belong to, the key's default."""


def merge_layers(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge nested dictionaries; a later value replaces an earlier one.

    A layer that names another scheduler or algorithm discards the `parameters` of the earlier one.
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
    """The settings that result from the layers, weakest first.

    origin: gives the place where the value of a path was written, for messages
    Raises SettingsError with a line per problem: path, value, what would be right.
    """
    try:
        return Settings.model_validate(merge_layers(layers))
    except ValidationError as invalid:
        raise SettingsError(explain(invalid, Settings, origin)) from None
