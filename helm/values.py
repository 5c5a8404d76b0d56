"""Defines the chart's values as a model, the single source of `values.schema.json` and docs/chart-values.md.

`python helm/values.py` writes both, and a test compares them. The values below `settings` are the program's own model
(`offload.settings`). So Helm rejects what the program would reject, as far as a schema can express it. The program
rejects the rest.
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
    """A part of the values, without unknown keys."""

    model_config = ConfigDict(extra="forbid", title="")


class Image(Section):
    """The image of edge nodes, controller and jobs."""

    repository: str = Field("offload-testbed", description="the image without torch (`--target light`)")
    tag: str = Field("", description="default: the chart's appVersion")
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = Field(  # noqa: N815
        "IfNotPresent", description="imagePullPolicy of all pods"
    )
    pullSecrets: Objects = Field([], description="imagePullSecrets of all pods")  # noqa: N815


class TrainerImage(Section):
    """The trainer's image."""

    repository: str = Field("offload-testbed-trainer", description="the image with torch (`--target trainer`)")
    tag: str = Field("", description="default: the chart's appVersion")


class Resources(Section):
    """Requests and limits, as in a container's spec."""

    requests: dict[str, str | int] = {}
    limits: dict[str, str | int] = {}


class Run(Section):
    """The name of the run."""

    name: str = Field(
        "",
        pattern=_NAME,
        max_length=52,
        description="default: the release's name and a digest of `settings` without the live settings; "
        "other settings are another run",
    )


class Token(Section):
    """The bearer token of the pods' HTTP interfaces."""

    enabled: bool = Field(True, description="whether every request but /healthz, /readyz and /metrics needs the token")
    existingSecret: str = Field(  # noqa: N815
        "", description="Secret with the key `token`; default: the chart creates one"
    )


class TLS(Section):
    """TLS between the testbed's pods. The token decides who may send requests."""

    existingSecret: str = Field(  # noqa: N815
        "",
        description="Secret with the keys `tls.crt`, `tls.key` and `ca.crt`, as cert-manager makes it; "
        "pods then speak HTTPS only",
    )


class Persistence(Section):
    """A volume of each pod."""

    enabled: bool = Field(True, description="whether there is a volume; without one the data is lost with its pod")
    size: str = Field("8Gi", pattern=_QUANTITY, description="size of the volume")
    storageClassName: str = Field("", description="default: the cluster's default storage class")  # noqa: N815
    keep: bool = Field(False, description="keep the volume when the release is uninstalled")


class RecordPersistence(Persistence):
    """A volume of each edge node, for records that are not delivered yet."""

    enabled: bool = Field(
        False, description="whether there is a volume; without one undelivered records are lost with their pod"
    )
    size: str = Field("100Mi", pattern=_QUANTITY, description="size of the volume")


class Node(Section):
    """The edge nodes; their number is `settings.network.nodes`."""

    resources: Resources = Resources(requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"})
    persistence: RecordPersistence = RecordPersistence()
    leavingSeconds: int = Field(  # noqa: N815
        60,
        ge=0,
        le=3600,
        description="seconds that nodes and controller wait after SIGTERM for the open episode to end",
    )


class Controller(Section):
    """The controller."""

    resources: Resources = Resources(requests={"cpu": "50m", "memory": "160Mi"}, limits={"memory": "512Mi"})


class Trainer(Section):
    """The pipeline's pod."""

    image: TrainerImage = TrainerImage()
    resources: Resources = Resources(requests={"cpu": "200m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    gpus: int = Field(0, ge=0, description="limit `nvidia.com/gpu`; needs an image that was built for CUDA")


class Pipeline(Section):
    """The O2O pipeline, a Job."""

    enabled: bool = Field(
        False, description="run collect, offline, deploy, online, evaluate, report; resumes after an eviction"
    )


class PodFailures(Section):
    """Injected failures of whole pods, in addition to the model's failures."""

    enabled: bool = Field(False, description="whether the controller deletes pods; adds a Role for that")
    perPodAndHour: float = Field(  # noqa: N815
        6.0, gt=0, le=3600, description="mean number of killings per pod and hour (a Poisson process)"
    )


class NetworkPolicy(Section):
    """Network policies: each role reaches what it needs, and nothing else."""

    enabled: bool = Field(True, description="whether there are network policies")
    clients: Objects = Field(
        [], description="further clients of controller and nodes, such as Prometheus: `from` of an ingress rule"
    )
    externalCidr: str = Field(  # noqa: N815
        "",
        description="CIDR of external services, of which only the services' ports are opened; default: any address",
    )
    apiServerCidr: str = Field("", description="CIDR of the Kubernetes API; default: any address")  # noqa: N815
    apiServerPorts: list[int] = Field(  # noqa: N815
        [443, 6443], description="ports of the Kubernetes API, for the controller"
    )


class VolumePermissions(Section):
    """For volumes that belong to root in spite of `fsGroup`, such as host paths."""

    enabled: bool = Field(
        False,
        description="whether an init container that runs as root gives each volume to its pod's user; "
        "not allowed by `restricted`",
    )


class PodDisruptionBudget(Section):
    """Lets a drain evict one edge node at a time."""

    enabled: bool = Field(True, description="whether there is a PodDisruptionBudget")


class Rules(Section):
    """Alerts."""

    enabled: bool = Field(False, description="whether there is a PrometheusRule with alerts")


class Dashboard(Section):
    """A ConfigMap with a Grafana dashboard."""

    enabled: bool = Field(False, description="whether there is a ConfigMap with a Grafana dashboard")
    labels: dict[str, str] = Field(
        {"grafana_dashboard": "1"}, description="labels by which Grafana's sidecar finds the dashboard"
    )


class Monitoring(Section):
    """For the Prometheus operator and Grafana."""

    enabled: bool = Field(False, description="whether there are a PodMonitor and a ServiceMonitor")
    interval: str = Field("15s", pattern=r"^[0-9]+(ms|s|m)$", description="time between two scrapes")
    labels: dict[str, str] = Field({}, description="labels by which the operator selects monitors and rules")
    rules: Rules = Rules()
    dashboard: Dashboard = Dashboard()


class MySQL(Section):
    """The database. It is the only service that is required."""

    enabled: bool = Field(True, description="true: bundled; false: the external server `host`")
    image: str = Field("mysql:8.4.10", description="image of the bundled server")
    command: list[str] = Field([], description="default: the image's own command")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence()
    host: str = Field("", description="host of an external server")
    port: int = Field(3306, ge=1, le=65535, description="port of an external server")
    database: str = Field("offload", pattern=r"^[A-Za-z0-9_]+$", description="name of the database")
    user: str = Field("offload", pattern=r"^[A-Za-z0-9_.-]+$", description="user of the database")
    existingSecret: str = Field(  # noqa: N815
        "", description="Secret with the key `password`; required for an external server"
    )
    options: str = Field("", description="options of the database URL, for example `ssl_ca=/etc/tls/ca.pem`")


class HDFS(Section):
    """The storage of models, buffers and reports."""

    enabled: bool = Field(True, description="true: bundled; false: the external server at `url`")
    image: str = Field("apache/hadoop:3.4.3", description="image of the bundled servers")
    command: list[str] = Field(
        [], description="default: the chart's own command; `namenode` or `datanode` is added as an argument"
    )
    dataNodes: int = Field(1, ge=1, le=100, description="number of bundled data nodes")  # noqa: N815
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "384Mi"}, limits={"memory": "768Mi"})
    persistence: Persistence = Persistence()
    url: str = Field(
        "",
        pattern=r"^(hdfs\+https?://.+)?$",
        description="hdfs+http://[user@]host:9870/path of an external server; if empty, the database is the storage",
    )
    ports: list[int] = Field([9870, 9864], description="ports of an external server's name nodes and data nodes")
    existingSecret: str = Field("", description="Secret with the key `password` of an external server")  # noqa: N815


class Nacos(Section):
    """Registry and configuration service."""

    enabled: bool = Field(True, description="true: bundled; false: the external server at `url`")
    image: str = Field("nacos/nacos-server:v2.5.2", description="image of the bundled server")
    command: list[str] = Field([], description="default: the image's own command")
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    persistence: Persistence = Persistence(size="1Gi")
    url: str = Field(
        "",
        pattern=r"^(nacos://.+)?$",
        description="nacos://[user@]host:8848[/namespace][?group=name] of an external server; if empty, the database "
        "is registry and configuration service, and the controller watches the mounted live settings",
    )
    port: int = Field(8848, ge=1, le=65535, description="port of an external server")
    existingSecret: str = Field("", description="Secret with the key `password` of an external server")  # noqa: N815


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
    nodeSelector: dict[str, str] = Field({}, description="of all pods")  # noqa: N815
    tolerations: Objects = Field([], description="of all pods")
    affinity: dict[str, Any] = Field({}, description="of all pods")
    podAnnotations: dict[str, str] = Field({}, description="of all pods")  # noqa: N815
    extraEnv: Objects = Field(  # noqa: N815
        [], description="environment variables of all pods, as in a container's `env`"
    )
    extraVolumes: Objects = Field([], description="volumes of all pods, for example with certificates")  # noqa: N815
    extraVolumeMounts: Objects = Field([], description="where the containers mount the extra volumes")  # noqa: N815
    global_: dict[str, Any] = Field({}, alias="global", description="Helm's own value; not used")


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7, what every Helm 3 understands) of the values."""
    fields = {name: (field.annotation, field) for name, field in Settings.model_fields.items() if name != "services"}
    settings = create_model(  # type: ignore[call-overload]
        "Experiment", __base__=Section, preset=(Literal[tuple(PRESETS)], None), **fields
    )
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
        "On this page you can look up every value of the Helm chart. [kubernetes.md](kubernetes.md) shows how to",
        "use them, and the [glossary](glossary.md) defines the terms.",
        "",
        "`settings` holds the experiment: all keys of [configuration.md](configuration.md) but `services`, which the",
        "chart sets. `settings.preset` names a preset: " + ", ".join(f"`{name}`" for name in PRESETS) + ".",
        "",
        "`python helm/values.py` makes this page and `values.schema.json` from one model. A test compares them.",
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
    lines += ["## All pods of the testbed", "", "| value | default | meaning |", "|---|---|---|"]
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
