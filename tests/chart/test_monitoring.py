"""Tests dashboard and alerts: they use metrics that the pods have and valid expressions, and are off by default."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml
from rendering import CHART, needs_helm, of_kind, render

from controller.metrics import Metrics as ControllerMetrics
from edgenode.metrics import Metrics as NodeMetrics

DASHBOARD = json.loads((CHART / "dashboards" / "offload-testbed.json").read_text())
ON = {"monitoring": {"enabled": True, "rules": {"enabled": True}, "dashboard": {"enabled": True}}}


def _known() -> set[str]:
    names = set()
    for metrics in (NodeMetrics(), ControllerMetrics()):
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", metrics.text().decode(), re.MULTILINE):
            names |= {f"{name}{part}" for part in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def _expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def _rules() -> list[dict]:
    return of_kind(render(**ON), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]


def test_the_dashboard_asks_for_metrics_that_there_are():
    assert len(_expressions()) > 15
    asked = {name for text in _expressions() for name in re.findall(r"offload_\w+", text)}
    assert asked <= _known(), asked - _known()


def test_every_panel_says_what_it_shows():
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            assert panel["title"] and panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"]
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in DASHBOARD["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"


@needs_helm
def test_the_alerts_ask_for_metrics_that_there_are():
    rules = _rules()
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    for rule in rules:
        asked = set(re.findall(r"offload_\w+", rule["expr"]))
        assert asked and asked <= _known(), rule
        assert 'app_kubernetes_io_instance="tb"' in rule["expr"] and 'namespace="space"' in rule["expr"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


@needs_helm
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_expressions(tmp_path):
    replaced = [text.replace("$namespace", "n").replace("$release", "r") for text in _expressions()]
    records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(replaced)]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "a", "rules": _rules()}, {"name": "p", "rules": records}]})
    )
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
def test_nothing_of_it_is_there_by_default():
    kinds = {one["kind"] for one in render()}
    assert not kinds & {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
    on = render(**ON)
    assert {"PodMonitor", "ServiceMonitor", "PrometheusRule"} <= {one["kind"] for one in on}
    page = of_kind(on, "ConfigMap", "-dashboard")[0]
    assert page["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(next(iter(page["data"].values()))) == DASHBOARD


@needs_helm
def test_the_monitors_find_the_pods_and_their_port():
    objects = render(**ON)
    for kind, component in (("PodMonitor", "node"), ("ServiceMonitor", "controller")):
        monitor = of_kind(objects, kind)[0]["spec"]
        assert monitor["selector"]["matchLabels"]["app.kubernetes.io/component"] == component
        endpoint = (monitor.get("podMetricsEndpoints") or monitor["endpoints"])[0]
        assert (endpoint["port"], endpoint["scheme"]) == ("http", "http")
    secured = of_kind(render(**ON, tls__existingSecret="pods"), "ServiceMonitor")[0]["spec"]["endpoints"][0]
    assert secured["scheme"] == "https"
