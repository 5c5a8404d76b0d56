"""Tests the default `helm install`: MySQL, HDFS and Nacos come from the chart's templates.

The tests use the official images on a cluster that can pull them (OFFLOAD_TEST_CLUSTER_BUNDLED=yes), or stand-ins made
of real servers (OFFLOAD_TEST_CLUSTER_STAND_INS=yes; `stand_ins/`).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator

import pytest
from experiment import EXPERIMENT
from releases import Release, namespace, note, until

STAND_INS = os.environ.get("OFFLOAD_TEST_CLUSTER_STAND_INS") == "yes"
pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(
        not STAND_INS and os.environ.get("OFFLOAD_TEST_CLUSTER_BUNDLED") != "yes",
        reason="neither OFFLOAD_TEST_CLUSTER_STAND_INS nor OFFLOAD_TEST_CLUSTER_BUNDLED is yes: "
        "no images of the services",
    ),
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    # Nacos' image runs as root, so `baseline` is the strictest possible standard (docs/kubernetes.md).
    with namespace(f"offload-bundled-{uuid.uuid4().hex[:6]}", standard="baseline") as space:
        settings = {
            **EXPERIMENT,
            "network": {"nodes": 4},
            "evaluation": {"episodes": 1, "methods": ["ratc", "o2o-drl"]},
        }
        values = {"settings": settings, "node": {"leavingSeconds": 20}}
        if STAND_INS:
            images = {"mysql": "mysql", "hdfs": "hadoop", "nacos": "nacos"}
            values["volumePermissions"] = {"enabled": True}  # volumes of such a cluster are host paths
            values |= {part: {"image": f"localhost/stand-in-{name}:dev"} for part, name in images.items()}
        yield Release("whole", space, values, tmp_path_factory.mktemp("bundled"))


def test_everything_comes_with_one_install(release: Release) -> None:
    note("seconds from helm install to ready, with the bundled services", round(release.install(timeout_s=400), 1))
    release.test()
    assert release.plays_complete()


def test_a_model_reaches_every_pod_through_the_charts_hdfs(release: Release) -> None:
    release.upgrade({"pipeline": {"enabled": True}})
    job = release.objects("jobs", "trainer")[0]["metadata"]["name"]
    release.kubectl("wait", "--for=condition=Complete", f"job/{job}", "--timeout=500s", timeout_s=520)
    version = release.rest("GET", "/v1/models")["models"][-1]["version"]
    release.execute("offload", "set", "scheduler.name=drl", f"scheduler.model={version}")
    assert {(node["scheduler"], node["model"]) for node in release.status()["nodes"]} == {("drl", version)}
    assert release.plays_complete()


def test_data_outlives_its_pods(release: Release) -> None:
    """The database, the name node and Nacos are killed: their data and the live settings still exist afterwards."""
    before = release.status()
    for name in ("mysql-0", "namenode-0", "datanode-0", "nacos-0"):
        release.kubectl("delete", "pod", f"{release.full}-{name}", "--grace-period=0", "--force")
    until(lambda: all(_ready(release, name) for name in ("mysql", "namenode", "datanode", "nacos")), "services", 180)
    assert release.plays_complete()
    after = release.status()
    assert (after["live_settings"], after["run"]) == (before["live_settings"], before["run"])
    assert "html" in release.rest("GET", f"/v1/runs/{after['run']}/report")


def test_nothing_is_left_behind_not_even_volumes(release: Release) -> None:
    release.uninstall()
    selector = f"app.kubernetes.io/instance={release.name}"

    def left() -> list[str]:
        found = json.loads(release.kubectl("get", "pods,pvc,secrets,configmaps,jobs", "-l", selector, "-o", "json"))[
            "items"
        ]
        return [f"{one['kind']} {one['metadata']['name']}" for one in found]

    until(lambda: not left(), "all of it goes", 120)


def _ready(release: Release, component: str) -> bool:
    pods = release.pods(component).values()
    return bool(pods) and all(
        any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
        for pod in pods
    )
