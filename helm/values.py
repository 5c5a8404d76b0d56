"""The chart's values as a model: the one source of `values.schema.json`, of docs/chart-values.md, and of what a test checks.

`python helm/values.py` writes both. What is below `settings` is the program's own model (`offload.settings`), so that Helm
refuses what the program would refuse, as far as a schema can say it; the rest says the program at `offload prepare`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, create_model

from offload.presets import PRESETS
from offload.settings import Settings

CHART = Path(__file__).parent / "offload-testbed"
SCHEMA = CHART / "values.schema.json"
REFERENCE = Path(__file__).parent.parent / "docs" / "chart-values.md"

Objects = list[dict[str, Any]]
_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
_QUANTITY = r"^[0-9.]+(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"


class Section(BaseModel):
    """A part of the values: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", title="")


class Image(Section):
    """An image of ours."""

    repository: str = Field("offload-testbed", description="for edge nodes, controller and jobs (`--target light`)")
    tag: str = Field("", description="the chart's appVersion by default")
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"  # noqa: N815
    pullSecrets: Objects = Field([], description="of all pods, as in a pod's spec")  # noqa: N815


class TrainerImage(Section):
    """The trainer's image."""

    repository: str = Field("offload-testbed-trainer", description="the image with torch (`--target trainer`)")
    tag: str = Field("", description="the chart's appVersion by default")


class Resources(Section):
    """Requests and limits, as Kubernetes has them."""

    requests: dict[str, str | int] = {}
    limits: dict[str, str | int] = {}


class Run(Section):
    """What the run is called."""

    name: str = Field(
        "",
        pattern=_NAME,
        max_length=52,
        description="the release's name with a digest of `settings` (without the hot ones) by default: other settings are another run",
    )


class Token(Section):
    """The bearer token of the pods' HTTP interfaces."""

    enabled: bool = Field(True, description="everything but /healthz, /readyz and /metrics needs it")
    existingSecret: str = Field("", description="with the key `token`; made by the chart by default")  # noqa: N815


class TLS(Section):
    """TLS between our own pods; the token says who may ask."""

    existingSecret: str = Field(  # noqa: N815
        "",
        description="with the keys `tls.crt`, `tls.key` and `ca.crt`, as cert-manager makes them: pods speak HTTPS only",
    )


class Persistence(Section):
    """A volume of each pod."""

    enabled: bool = Field(True, description="without one the data dies with its pod")
    size: str = Field("8Gi", pattern=_QUANTITY)
    storageClassName: str = Field("", description="the cluster's default by default")  # noqa: N815
    keep: bool = Field(False, description="keep the volume when the release is uninstalled")


class RecordPersistence(Persistence):
    """A volume of each edge node for records that are not delivered yet."""

    enabled: bool = Field(False, description="without one such records die with their pod, and its tasks are `lost`")
    size: str = Field("100Mi", pattern=_QUANTITY)


class Node(Section):
    """The edge nodes; their number is `settings.network.nodes`."""

    resources: Resources = Resources(requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"})
    persistence: RecordPersistence = RecordPersistence()
    leavingSeconds: int = Field(  # noqa: N815
        60,
        ge=0,
        le=3600,
        description="a node (and the controller) that is told to end lets the open episode end first, for at most so long",
    )


class Controller(Section):
    """The controller."""

    resources: Resources = Resources(requests={"cpu": "50m", "memory": "160Mi"}, limits={"memory": "512Mi"})


class Trainer(Section):
    """The pipeline's pod."""

    image: TrainerImage = TrainerImage()
    resources: Resources = Resources(requests={"cpu": "200m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    gpus: int = Field(0, ge=0, description="limit `nvidia.com/gpu`; the image has to be built for CUDA then")


class Pipeline(Section):
    """The O2O pipeline, a Job."""

    enabled: bool = Field(
        False, description="play collect, offline, deploy, online, evaluate, report; goes on after an eviction"
    )


class PodFailures(Section):
    """Failures of whole pods, beside those of the model."""

    enabled: bool = Field(False, description="the controller may delete pods then (a Role of its own)")
    perPodAndHour: float = Field(6.0, gt=0, le=3600, description="rate of the Poisson process")  # noqa: N815


class NetworkPolicy(Section):
    """Each role reaches what it needs, and nothing else."""

    enabled: bool = True
    clients: Objects = Field(
        [], description="who else may ask controller and nodes: `from` of an ingress rule, as Prometheus"
    )
    externalCidr: str = Field(  # noqa: N815
        "",
        description="where services that are not the chart's own may be; their ports are opened only; anywhere by default",
    )
    apiServerCidr: str = Field("", description="where the Kubernetes API may be; anywhere by default")  # noqa: N815
    apiServerPorts: list[int] = Field([443, 6443], description="of the Kubernetes API, for the controller")  # noqa: N815


class VolumePermissions(Section):
    """For volumes that belong to root whatever `fsGroup` says, as host paths do."""

    enabled: bool = Field(
        False,
        description="a container that is root for a moment gives each volume to its pod's user; not in `restricted`",
    )


class PodDisruptionBudget(Section):
    """Drains take one edge node at a time."""

    enabled: bool = True


class Switch(Section):
    """On or off."""

    enabled: bool = False


class Dashboard(Section):
    """A ConfigMap with a Grafana dashboard."""

    enabled: bool = False
    labels: dict[str, str] = Field({"grafana_dashboard": "1"}, description="by which Grafana's sidecar finds it")


class Monitoring(Section):
    """For the Prometheus operator and Grafana."""

    enabled: bool = Field(False, description="PodMonitor and ServiceMonitor")
    interval: str = Field("15s", pattern=r"^[0-9]+(ms|s|m)$")
    labels: dict[str, str] = Field({}, description="by which the operator selects monitors and rules")
    rules: Switch = Field(Switch(), description="PrometheusRule")
    dashboard: Dashboard = Dashboard()


class MySQL(Section):
    """The database, the one service that there must be."""

    enabled: bool = Field(True, description="from the chart; else the server of `host`")
    image: str = "mysql:8.4.10"
    command: list[str] = Field([], description="the image's own by default")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence()
    host: str = Field("", description="of an external server")
    port: int = Field(3306, ge=1, le=65535)
    database: str = Field("offload", pattern=r"^[A-Za-z0-9_]+$")
    user: str = Field("offload", pattern=r"^[A-Za-z0-9_.-]+$")
    existingSecret: str = Field("", description="with the key `password`; needed for an external server")  # noqa: N815
    options: str = Field("", description="of the connection's URL, as `ssl_ca=/etc/tls/ca.pem`")


class HDFS(Section):
    """The storage of models, buffers and reports."""

    enabled: bool = Field(True, description="from the chart; else `url`")
    image: str = "apache/hadoop:3.4.3"
    command: list[str] = Field(
        [], description="the chart's own by default; `namenode` or `datanode` is added as an argument"
    )
    dataNodes: int = Field(1, ge=1, le=100)  # noqa: N815
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "384Mi"}, limits={"memory": "768Mi"})
    persistence: Persistence = Persistence()
    url: str = Field(
        "",
        pattern=r"^(hdfs\+https?://.+)?$",
        description="hdfs+http://[user@]host:9870/path of an external one; without one the database takes its place",
    )
    ports: list[int] = Field([9870, 9864], description="that an external one answers on: name nodes and data nodes")
    existingSecret: str = Field("", description="with the key `password`, of an external one")  # noqa: N815


class Nacos(Section):
    """Registry and configuration."""

    enabled: bool = Field(True, description="from the chart; else `url`")
    image: str = "nacos/nacos-server:v2.5.2"
    command: list[str] = Field([], description="the image's own by default")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence(size="1Gi")
    url: str = Field(
        "",
        pattern=r"^(nacos://.+)?$",
        description="nacos://[user@]host:8848[/namespace][?group=name] of an external one; without one the database "
        "takes its place, and the hot keys of the mounted settings are watched",
    )
    port: int = Field(8848, ge=1, le=65535, description="that an external one answers on")
    existingSecret: str = Field("", description="with the key `password`, of an external one")  # noqa: N815


class Values(Section):
    """All values of the chart; `settings` is added by `model`."""

    run: Run = Run()
    pipeline: Pipeline = Pipeline()
    image: Image = Image()
    token: Token = Token()
    tls: TLS = TLS()
    node: Node = Node()
    controller: Controller = Controller()
    trainer: Trainer = Trainer()
    podFailures: PodFailures = PodFailures()  # noqa: N815
    mysql: MySQL = MySQL()
    hdfs: HDFS = HDFS()
    nacos: Nacos = Nacos()
    volumePermissions: VolumePermissions = VolumePermissions()  # noqa: N815
    networkPolicy: NetworkPolicy = NetworkPolicy()  # noqa: N815
    podDisruptionBudget: PodDisruptionBudget = PodDisruptionBudget()  # noqa: N815
    monitoring: Monitoring = Monitoring()
    nodeSelector: dict[str, str] = Field({}, description="of all pods of ours")  # noqa: N815
    tolerations: Objects = Field([], description="of all pods of ours")
    affinity: dict[str, Any] = Field({}, description="of all pods of ours")
    podAnnotations: dict[str, str] = Field({}, description="of all pods of ours")  # noqa: N815
    extraEnv: Objects = Field([], description="environment variables of all pods of ours, as in a container's `env`")  # noqa: N815
    extraVolumes: Objects = Field([], description="of all pods of ours, as certificates")  # noqa: N815
    extraVolumeMounts: Objects = Field([], description="where their containers see them")  # noqa: N815
    global_: dict[str, Any] = Field({}, alias="global", description="Helm's own; not used")


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7, what every Helm 3 understands) of the values."""
    fields = {name: (field.annotation, field) for name, field in Settings.model_fields.items() if name != "services"}
    settings = create_model("Experiment", __base__=Section, preset=(Literal[tuple(PRESETS)], None), **fields)  # type: ignore[call-overload]
    whole = create_model("All", __base__=Values, settings=(settings, ...)).model_json_schema()
    definitions = whole.pop("$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_inlined(whole, definitions)}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """Without references, defaults (they are in values.yaml) and titles."""
    if isinstance(node, list):
        return [_inlined(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    result = {}
    for key, value in node.items():
        if key == "prefixItems":
            result["items"] = _inlined(value, definitions)
        elif key == "properties":
            result[key] = {name: _inlined(one, definitions) for name, one in value.items()}
        elif key not in ("default", "title"):
            result[key] = _inlined(value, definitions)
    return result


def defaults() -> dict[str, Any]:
    """The values as the model has them by default, without `settings` (the program's own)."""
    return Values().model_dump(mode="json", by_alias=True, exclude={"global_"})


def reference() -> str:
    """All values with defaults and meaning, as Markdown."""
    lines = [
        "# Values of the chart",
        "",
        "Made by `python helm/values.py` from the model that also makes `values.schema.json`; a test compares it.",
        "Below `settings` stands the experiment, as [configuration.md](configuration.md) has it, without `services` (the chart",
        "fills them in); `settings.preset` names one of the presets "
        + ", ".join(f"`{name}`" for name in PRESETS)
        + ".",
        "",
    ]
    top, sections = [], []
    for name, field in Values.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            sections.append((name, field.annotation))
        elif name != "global_":
            top.append((name, field.default, field.description or ""))
    for name, kind in sections:
        lines += [f"## {name}", "", (kind.__doc__ or "").strip(), "", "| value | default | meaning |", "|---|---|---|"]
        lines += _rows(name, getattr(Values(), name))
        lines.append("")
    lines += ["## All pods of ours", "", "| value | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{json.dumps(default)}` | {meaning} |" for name, default, meaning in top]
    return "\n".join(lines) + "\n"


def _rows(path: str, section: Section) -> list[str]:
    rows = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Resources):
            shown = yaml.safe_dump(value.model_dump(), default_flow_style=True, width=1000).strip()
            rows.append(f"| `{path}.{name}` | `{shown}` | requests and limits |")
        elif isinstance(value, Section):
            rows += _rows(f"{path}.{name}", value)
        else:
            rows.append(f"| `{path}.{name}` | `{json.dumps(value)}` | {field.description or ''} |")
    return rows


def main() -> None:
    """Write the schema and the reference."""
    SCHEMA.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    REFERENCE.write_text(reference())
    print(f"{SCHEMA} and {REFERENCE} are written", file=sys.stderr)


if __name__ == "__main__":
    main()
