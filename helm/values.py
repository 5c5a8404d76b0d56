"""Defines the chart's values as a model, and generates `values.schema.json` and `docs/chart-values.md` from it.

`python helm/values.py` writes both files; a test compares them with the model. The section `settings` is the testbed's
own model (`offload.settings`). So Helm rejects the wrong settings that a schema can detect. `offload prepare` checks
the others.
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
    """A part of the values; unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", title="")


class Image(Section):
    """The image of edge nodes, controller and jobs."""

    repository: str = Field("offload-testbed", description="the image without torch (`--target light`)")
    tag: str = Field("", description="the chart's appVersion by default")
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"  # noqa: N815
    pullSecrets: Objects = Field([], description="`imagePullSecrets` of all pods")  # noqa: N815


class TrainerImage(Section):
    """The trainer's image."""

    repository: str = Field("offload-testbed-trainer", description="the image with torch (`--target trainer`)")
    tag: str = Field("", description="the chart's appVersion by default")


class Resources(Section):
    """Requests and limits, as in a container's `resources`."""

    requests: dict[str, str | int] = {}
    limits: dict[str, str | int] = {}


class Run(Section):
    """The name of the run."""

    name: str = Field(
        "",
        pattern=_NAME,
        max_length=52,
        description="by default the release name and a digest of the fixed `settings`; a change of a fixed setting "
        "creates another run",
    )


class Token(Section):
    """The bearer token of the pods' HTTP interfaces."""

    enabled: bool = Field(True, description="all requests but /healthz, /readyz and /metrics need the token")
    existingSecret: str = Field(  # noqa: N815
        "", description="a Secret with the key `token`; the chart creates one by default"
    )


class TLS(Section):
    """TLS between the chart's pods. It encrypts; the token authenticates."""

    existingSecret: str = Field(  # noqa: N815
        "",
        description="a Secret with the keys `tls.crt`, `tls.key` and `ca.crt`, as cert-manager creates it; the pods "
        "then use HTTPS only",
    )


class Persistence(Section):
    """A volume of each pod."""

    enabled: bool = Field(True, description="without a volume the data is lost when its pod is deleted")
    size: str = Field("8Gi", pattern=_QUANTITY)
    storageClassName: str = Field("", description="the cluster's default class by default")  # noqa: N815
    keep: bool = Field(False, description="keep the volume when the release is uninstalled")


class RecordPersistence(Persistence):
    """A volume of each edge node for records that are not delivered yet."""

    enabled: bool = Field(
        False, description="without a volume these records are lost with their pod, and the pod's tasks become `lost`"
    )
    size: str = Field("100Mi", pattern=_QUANTITY)


class Node(Section):
    """The edge nodes; their number is `settings.network.nodes`."""

    resources: Resources = Resources(requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"})
    persistence: RecordPersistence = RecordPersistence()
    leavingSeconds: int = Field(  # noqa: N815
        60,
        ge=0,
        le=3600,
        description="longest wait, in seconds, of a node or the controller for the end of the open episode before it "
        "terminates",
    )


class Controller(Section):
    """The controller."""

    resources: Resources = Resources(requests={"cpu": "50m", "memory": "160Mi"}, limits={"memory": "512Mi"})


class Trainer(Section):
    """The pipeline's pod."""

    image: TrainerImage = TrainerImage()
    resources: Resources = Resources(requests={"cpu": "200m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    gpus: int = Field(0, ge=0, description="the limit `nvidia.com/gpu`; needs an image that is built for CUDA")


class Pipeline(Section):
    """The O2O pipeline, a Job."""

    enabled: bool = Field(
        False,
        description="run collect, offline, deploy, online, evaluate and report; the Job resumes after an eviction",
    )


class PodFailures(Section):
    """Failures of whole pods, in addition to those of the model."""

    enabled: bool = Field(False, description="let the controller delete pods; it gets a Role for that")
    perPodAndHour: float = Field(  # noqa: N815
        6.0, gt=0, le=3600, description="rate of the Poisson process, per pod and hour"
    )


class NetworkPolicy(Section):
    """Network policies that allow each role only the connections that it needs."""

    enabled: bool = True
    clients: Objects = Field(
        [],
        description="other clients of controller and nodes, such as Prometheus, as in `from` of an ingress rule",
    )
    externalCidr: str = Field(  # noqa: N815
        "",
        description="the addresses of services outside the chart; only their ports are opened; any address by default",
    )
    apiServerCidr: str = Field(  # noqa: N815
        "", description="the addresses of the Kubernetes API; any address by default"
    )
    apiServerPorts: list[int] = Field(  # noqa: N815
        [443, 6443], description="the ports of the Kubernetes API, for the controller"
    )


class VolumePermissions(Section):
    """For volumes that belong to root in spite of `fsGroup`, such as host paths."""

    enabled: bool = Field(
        False,
        description="an init container with root rights gives each volume to its pod's user; the Pod Security Standard "
        "`restricted` forbids that",
    )


class PodDisruptionBudget(Section):
    """A budget that lets a drain remove one edge node at a time."""

    enabled: bool = True


class Switch(Section):
    """A feature that is on or off."""

    enabled: bool = False


class Dashboard(Section):
    """A ConfigMap with a Grafana dashboard."""

    enabled: bool = False
    labels: dict[str, str] = Field(
        {"grafana_dashboard": "1"}, description="the labels by which Grafana's sidecar finds it"
    )


class Monitoring(Section):
    """For the Prometheus operator and Grafana."""

    enabled: bool = Field(False, description="install a PodMonitor and a ServiceMonitor")
    interval: str = Field("15s", pattern=r"^[0-9]+(ms|s|m)$")
    labels: dict[str, str] = Field({}, description="the labels by which the operator selects monitors and rules")
    rules: Switch = Field(Switch(), description="install a PrometheusRule")
    dashboard: Dashboard = Dashboard()


class MySQL(Section):
    """The database, the only service that is required."""

    enabled: bool = Field(True, description="install it with the chart; otherwise the server of `host` is used")
    image: str = "mysql:8.4.10"
    command: list[str] = Field([], description="the image's command by default")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence()
    host: str = Field("", description="the host of an external server")
    port: int = Field(3306, ge=1, le=65535)
    database: str = Field("offload", pattern=r"^[A-Za-z0-9_]+$")
    user: str = Field("offload", pattern=r"^[A-Za-z0-9_.-]+$")
    existingSecret: str = Field(  # noqa: N815
        "", description="a Secret with the key `password`; required for an external server"
    )
    options: str = Field("", description="options of the connection's URL, such as `ssl_ca=/etc/tls/ca.pem`")


class HDFS(Section):
    """The storage of models, buffers and reports."""

    enabled: bool = Field(True, description="install it with the chart; otherwise `url` is used")
    image: str = "apache/hadoop:3.4.3"
    command: list[str] = Field(
        [], description="the chart's command by default; the chart adds the argument `namenode` or `datanode`"
    )
    dataNodes: int = Field(1, ge=1, le=100)  # noqa: N815
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "384Mi"}, limits={"memory": "768Mi"})
    persistence: Persistence = Persistence()
    url: str = Field(
        "",
        pattern=r"^(hdfs\+https?://.+)?$",
        description="`hdfs+http://[user@]host:9870/path` of an external HDFS; without HDFS the database stores files",
    )
    ports: list[int] = Field([9870, 9864], description="the ports of an external HDFS: name nodes and data nodes")
    existingSecret: str = Field("", description="a Secret with the key `password`, for an external HDFS")  # noqa: N815


class Nacos(Section):
    """Registry and configuration."""

    enabled: bool = Field(True, description="install it with the chart; otherwise `url` is used")
    image: str = "nacos/nacos-server:v2.5.2"
    command: list[str] = Field([], description="the image's command by default")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence(size="1Gi")
    url: str = Field(
        "",
        pattern=r"^(nacos://.+)?$",
        description="`nacos://[user@]host:8848[/namespace][?group=name]` of an external Nacos; without Nacos the "
        "database is the registry, and the mounted settings are watched for changes of live settings",
    )
    port: int = Field(8848, ge=1, le=65535, description="the port of an external Nacos")
    existingSecret: str = Field("", description="a Secret with the key `password`, for an external Nacos")  # noqa: N815


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
    nodeSelector: dict[str, str] = Field({}, description="`nodeSelector` of these pods")  # noqa: N815
    tolerations: Objects = Field([], description="`tolerations` of these pods")
    affinity: dict[str, Any] = Field({}, description="`affinity` of these pods")
    podAnnotations: dict[str, str] = Field({}, description="annotations of these pods")  # noqa: N815
    extraEnv: Objects = Field([], description="environment variables, as in a container's `env`")  # noqa: N815
    extraVolumes: Objects = Field([], description="volumes of these pods, such as certificates")  # noqa: N815
    extraVolumeMounts: Objects = Field([], description="where the containers mount these volumes")  # noqa: N815
    global_: dict[str, Any] = Field({}, alias="global", description="reserved by Helm; not used")


def schema() -> dict[str, Any]:
    """The JSON Schema of the values, in draft 7, which every Helm 3 understands."""
    fields = {name: (field.annotation, field) for name, field in Settings.model_fields.items() if name != "services"}
    preset: Any = (Literal[tuple(PRESETS)], None)
    settings: Any = create_model("Experiment", __base__=Section, **{"preset": preset, **fields})
    whole = create_model("All", __base__=Values, settings=(settings, ...)).model_json_schema()
    definitions = whole.pop("$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_inlined(whole, definitions)}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """The same schema without references, titles, and defaults (values.yaml has the defaults)."""
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
    """The default values of the model, without `settings`."""
    return Values().model_dump(mode="json", by_alias=True, exclude={"global_"})


def reference() -> str:
    """A reference of all values with defaults and meanings, as Markdown."""
    lines = [
        "# Values of the chart",
        "",
        "After reading this page you can set every value of the chart. [kubernetes.md](kubernetes.md) shows",
        "how to install it. The [glossary](glossary.md) defines the terms.",
        "",
        "`python helm/values.py` generates this page and `values.schema.json` from one model. Do not edit",
        "them.",
        "",
        "The section `settings` has the experiment's settings, as in [configuration.md](configuration.md).",
        "The chart sets `services` itself. `settings.preset` is the name of a preset:",
        ", ".join(f"`{name}`" for name in PRESETS) + ".",
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
    lines += ["## All pods of the testbed", "", "These values apply to edge nodes, controller, trainer and jobs.", ""]
    lines += ["| value | default | meaning |", "|---|---|---|"]
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
    print(f"wrote {SCHEMA} and {REFERENCE}", file=sys.stderr)


if __name__ == "__main__":
    main()
