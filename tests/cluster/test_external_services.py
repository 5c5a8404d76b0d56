"""Tests the chart on a real cluster, with a real MySQL or MariaDB, HDFS and Nacos outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import trustme
from experiment import EXPERIMENT, NODES
from releases import KUBECTL, CommandFailed, Release, namespace, note, until
from running import Workplace

from middleware.database import Database, Run, find_episodes, find_pod_events, load_run, read_tasks

_CONNECT = (
    "import socket,sys\n"
    "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3); print('open')\n"
    "except OSError as error: print('closed', type(error).__name__)"
)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    connected = Database.connect(database_url)
    yield connected
    connected.close()


def test_it_installs_and_is_ready(release: Release) -> None:
    note("seconds from helm install to ready", round(release.install(), 1))
    assert len(release.pods("node")) == NODES
    status = release.status()
    assert [node["alive"] for node in status["nodes"]] == [True] * NODES
    assert all(node["pod"]["ready"] and node["pod"]["machine"] for node in status["nodes"])
    table = release.execute("offload", "status")
    assert "pod" in table and table.count("ready") >= NODES
    notes = release.notes()
    for message in (
        f"port-forward svc/{release.full}-controller",
        "offload set scheduler.name=sed",
        "pipeline.enabled=true",
    ):
        assert message in notes


def test_helm_test_says_that_everything_works(release: Release) -> None:
    release.test()


def test_each_role_reaches_what_it_needs_and_nothing_else(release: Release) -> None:
    def reach(pod: str, host: str, port: int) -> str:
        return release.execute("python", "-c", _CONNECT, host, str(port), pod=pod).split()[0]

    node, other = f"{release.full}-node-0", f"{release.full}-node-1.{release.full}-node"
    controller = next(iter(release.pods("controller")))
    mysql = release.values["mysql"]
    assert reach(node, other, 8080) == "open"
    assert reach(node, f"{release.full}-controller", 8080) == "open"
    assert reach(node, mysql["host"], mysql["port"]) == "open"
    assert reach(controller, "kubernetes.default.svc", 443) == "open"
    assert reach(node, "kubernetes.default.svc", 443) == "closed"
    # Labels that no component of the release has.
    stranger = "stranger"
    overrides = json.dumps({"spec": {"automountServiceAccountToken": False, "containers": [{
        "name": stranger, "image": f"{release.values['image']['repository']}:{release.values['image']['tag']}",
        "command": ["sleep", "600"], "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}]}})  # fmt: skip
    release.kubectl("run", stranger, "--image=none", "--restart=Never", f"--overrides={overrides}")
    try:
        release.kubectl("wait", "--for=condition=Ready", f"pod/{stranger}", "--timeout=60s")
        assert reach(stranger, other, 8080) == "closed"
        assert reach(stranger, f"{release.full}-controller", 8080) == "closed"
    finally:
        release.kubectl("delete", "pod", stranger, "--grace-period=1", "--wait=false")


def test_no_pod_may_do_more_with_the_api_than_look_at_pods(release: Release) -> None:
    def may(verb: str, kind: str, account: str) -> bool:
        who = f"--as=system:serviceaccount:{release.space}:{release.full}-{account}"
        try:
            return release.kubectl("auth", "can-i", verb, kind, who).strip() == "yes"
        except CommandFailed as refused:
            return not str(refused).endswith("no")  # its exit code is not 0

    assert may("watch", "pods", "controller")
    assert not may("delete", "pods", "controller")
    assert not may("get", "secrets", "controller")
    assert not may("get", "pods", "node")
    mounted = release.execute(
        "sh", "-c", "ls /var/run/secrets/kubernetes.io 2>&1 || true", pod=f"{release.full}-node-0"
    )
    assert "No such file" in mounted


def test_scheduler_change_during_an_episode_restarts_nothing(release: Release, database: Database) -> None:
    before = release.restarts()
    # by the command
    release.playing()
    assert f"applied on all {NODES} nodes" in release.execute("offload", "set", "scheduler.name=sed")
    # by helm: the rendered settings differ from the last ones
    release.playing()
    release.upgrade({"settings": {"scheduler": {"name": "random"}}})
    until(lambda: release.status()["live_settings"]["scheduler"]["name"] == "random", "helm's scheduler")
    # in Nacos, as its console does
    episode = release.playing()
    _edit_in_nacos(release, {"name": "rda", "parameters": {}, "model": None})
    until(lambda: {node["scheduler"] for node in release.status()["nodes"]} == {"rda"}, "the console's scheduler")
    assert release.ended(episode)["status"] == "closed"
    # an upgrade that renders the same live settings changes nothing
    release.upgrade({"podDisruptionBudget": {"enabled": False}})
    until(lambda: any("Complete" in str(job["status"]) for job in release.objects("jobs", "prepare")), "prepare")
    assert release.status()["live_settings"]["scheduler"]["name"] == "rda"
    assert release.restarts() == before
    assert release.plays_complete()
    mixed = find_episodes(database, load_run(database, release.run()), verdict="mixed")
    assert mixed, "an episode in which the scheduler changed is marked"


def test_a_wrong_value_is_refused_before_anything_changes(release: Release) -> None:
    with pytest.raises(CommandFailed, match=r"settings\.time|slot_seconds"):
        release.upgrade({"settings": {"time": {"slot_seconds": 3}}})
    del release.values["settings"]["time"]["slot_seconds"]
    with pytest.raises(CommandFailed, match="unknown scheduler 'best'"):
        release.execute("offload", "set", "scheduler.name=best")
    assert release.plays_complete()


def test_a_killed_pod_loses_its_tasks_only_and_takes_part_again(release: Release, database: Database) -> None:
    name = f"{release.full}-node-2"
    identity = release.pods("node")[name]["metadata"]["uid"]
    episode = release.playing()
    release.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    ended = release.ended(episode)
    assert ended["verdict"] in ("complete", "incomplete"), ended
    run = load_run(database, release.run())
    hit = find_episodes(database, run, episode=episode)[0]
    assert sum(hit.outcomes.values()) == hit.tasks
    until(
        lambda: name in release.pods("node") and release.pods("node")[name]["metadata"]["uid"] != identity, "a new pod"
    )
    again = release.plays_complete()[0]
    assert again["outcomes"].get("lost", 0) == 0
    until(lambda: release.status()["nodes"][2]["pod"]["ready"], "the pod is ready")


def test_the_failure_injection_kills_pods_and_says_so(release: Release, database: Database) -> None:
    release.upgrade({"podFailures": {"enabled": True, "perPodAndHour": 1200 / NODES}})
    run = load_run(database, release.run())
    events = until(lambda: len(found := find_pod_events(database, run)) >= 3 and found, "three pods are killed", 120)
    assert {event.event for event in events} == {"killed"}
    assert all(event.pod == f"{release.full}-node-{event.node}" for event in events)
    release.upgrade({"podFailures": {"enabled": False}})
    assert release.plays_complete()
    closed = find_episodes(database, run)
    assert all(sum(one.outcomes.values()) == one.tasks for one in closed), "conservation"
    hit = {event.episode for event in events if event.episode is not None}
    lost = sum(one.outcomes.get("lost", 0) for one in closed if one.episode in hit)
    note("pods killed by the failure injection", len(find_pod_events(database, run)))
    note("tasks lost in the episodes that were hit", lost)


def test_a_killed_controller_is_followed_by_another_that_goes_on(release: Release, database: Database) -> None:
    episode = release.playing()
    pod = next(iter(release.pods("controller")))
    release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    until(lambda: _answers(release), "the next controller", 120)
    assert release.plays_complete()
    run = load_run(database, release.run())
    assert find_episodes(database, run, episode=episode, status=None)[0].status == "aborted"
    assert find_episodes(database, run)[-1].episode > episode


@pytest.mark.whole
def test_without_the_kubernetes_api_episodes_go_on_and_it_is_reported(release: Release) -> None:
    release.kubectl("delete", "rolebinding", f"{release.full}-controller")
    log = ("logs", f"deploy/{release.full}-controller", "-c", "controller")
    until(
        lambda: "the Kubernetes API: unavailable (403 Forbidden)" in release.kubectl(*log), "the watch is refused", 150
    )
    assert release.plays_complete()
    assert all(node["pod"] for node in release.status()["nodes"]), "what was seen stays"
    release.upgrade({})
    until(lambda: "the Kubernetes API: available again after" in release.kubectl(*log), "the watch goes on", 60)


@pytest.mark.whole
def test_pipeline_survives_an_eviction(release: Release, database: Database) -> None:
    began = time.monotonic()
    release.upgrade({"pipeline": {"enabled": True}})
    run = load_run(database, release.run())
    until(lambda: len(find_episodes(database, run, phase="collect")) >= 2, "collecting", 240)
    pod = next(iter(release.pods("trainer")))
    _evict(release, pod)
    job = release.objects("jobs", "trainer")[0]["metadata"]["name"]
    release.kubectl("wait", "--for=condition=Complete", f"job/{job}", "--timeout=600s", timeout_s=620)
    note("seconds of the pipeline with short episodes, with an eviction", round(time.monotonic() - began, 1))
    assert pod not in release.pods("trainer")
    report = release.rest("GET", f"/v1/runs/{run.name}/report")
    assert "Parity with the numeric twin" in report
    results = json.loads(release.execute("python", "-c", _RESULTS, run.name))
    parity = results["parity"]["emulated"]
    note("parity with the twin", {key: parity[key] for key in ("tasks", "same_outcome") if key in parity})
    assert parity["held"], parity
    until(lambda: release.status()["serving"], "continuous arrivals go on")
    # The model that the pipeline trained, on all pods, through HDFS.
    version = find_episodes(database, run, phase="evaluate", method="o2o-drl")[0].plan.scheduler.model
    release.execute("offload", "set", "scheduler.name=drl", f"scheduler.model={version}")
    assert {(node["scheduler"], node["model"]) for node in release.status()["nodes"]} == {("drl", version)}
    assert release.plays_complete()
    sizes = [release.execute("grep", "VmRSS", "/proc/1/status", pod=pod).split()[1] for pod in release.pods("node")]
    note("resident memory of the largest edge node with an actor, MB", round(max(map(int, sizes)) * 1024 / 1e6, 1))


@pytest.mark.whole
def test_cluster_and_laptop_do_the_same_to_the_same_tasks(
    release: Release, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Local processes play the traces of the pipeline's evaluation. `random` makes the same decisions in both."""
    folder = tmp_path_factory.mktemp("local")
    settings = {**EXPERIMENT, "evaluation": {"episodes": 3, "methods": ["random"]}}
    workplace = Workplace(folder, settings=json.dumps(settings))
    done = workplace.run("run", "--config", "small.yaml", "--out", "runs/small", "--phase", "evaluate", timeout_s=300)
    assert done.returncode == 0, done.stdout
    there = _outcomes(database, load_run(database, release.run()), "random")
    local = Database.connect(workplace.database_url)
    here = _outcomes(local, load_run(local, "small"), "random")
    assert here.keys() == there.keys() and len(here) > 200
    same = float(np.mean([here[task] == there[task] for task in here]))
    note("same outcome on the cluster and on local processes", {"tasks": len(here), "share": round(same, 4)})
    assert same >= 0.97


@pytest.mark.whole
def test_more_and_fewer_nodes_and_an_actor_that_does_not_fit(release: Release, database: Database) -> None:
    first = load_run(database, release.run())
    version = find_episodes(database, first, phase="evaluate", method="o2o-drl")[0].plan.scheduler.model
    actor = {"name": "drl", "model": f"{first.name}/{version}"}
    revision = len(json.loads(release.kubectl("get", "secrets", "-l", "owner=helm", "-o", "json"))["items"])
    before = find_episodes(database, first, status=None)
    took = release.upgrade({"settings": {"network": {"nodes": 12}, "scheduler": actor}, "pipeline": {"enabled": False}})
    note("seconds from 10 to 12 nodes", round(took, 1))
    assert len(release.pods("node")) == 12 and release.run() != first.name
    status = release.status()
    assert "the model has 11, this network needs 13" in status["fallback"]
    assert status["live_settings"]["scheduler"]["name"] == "ratc"
    assert release.plays_complete()
    ended = find_episodes(database, first, status=None)[-1]
    assert ended.status == "closed", f"N changed between episodes: {len(before)} before, the last one is {ended}"
    note("seconds from 12 to 8 nodes", round(release.upgrade({"settings": {"network": {"nodes": 8}}}), 1))
    assert len(until(lambda: len(found := release.pods("node")) == 8 and found, "8 pods")) == 8
    assert release.plays_complete()
    # Scale back to ten nodes: the same run continues.
    release.rollback(revision)
    assert release.run() == first.name
    assert len(until(lambda: len(found := release.pods("node")) == 10 and found, "10 pods")) == 10
    assert release.plays_complete()
    assert find_episodes(database, first, status=None)[-1].episode > ended.episode


@pytest.mark.whole
def test_two_releases_do_not_disturb_each_other(
    release: Release, services: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two more releases: one with TLS and only the database; one of the same name in another namespace."""
    folder = tmp_path_factory.mktemp("others")
    _certificate_secret(release, folder)
    small = {**EXPERIMENT, "network": {"nodes": 3}}
    minimal = {"mysql": services["mysql"], "hdfs": {"enabled": False}, "nacos": {"enabled": False}}
    tls = {"tls": {"existingSecret": "pods-tls"}}
    second = Release("second", release.space, {"settings": small, **minimal, **tls}, folder)
    before = release.restarts()
    second.install()
    assert all(node["address"].startswith("https://") for node in second.status()["nodes"])
    second.test()
    with namespace(f"{release.space}-b") as other:
        third = Release(release.name, other, {"settings": {**small, "seed": 6}, **services}, folder)
        password = sa.make_url(os.environ["OFFLOAD_TEST_CLUSTER_MYSQL_URL"]).password
        third.kubectl("create", "secret", "generic", "database", f"--from-literal=password={password}")
        third.install()
        assert len({one.run() for one in (release, second, third)}) == 3
        assert third.plays_complete() and second.plays_complete() and release.plays_complete()
        third.uninstall()
    # Without Nacos, the mounted settings are watched: the kubelet updates the file within about a minute.
    second.upgrade({"settings": {"scheduler": {"name": "sed"}}})
    until(lambda: second.status()["live_settings"]["scheduler"]["name"] == "sed", "the mounted settings", 150)
    second.uninstall()
    assert release.restarts() == before
    assert release.plays_complete()


def test_nothing_is_left_behind(release: Release) -> None:
    release.uninstall()
    kinds = (
        "pods,services,deployments,statefulsets,jobs,configmaps,secrets,serviceaccounts,roles,rolebindings,pvc,"
        "networkpolicies,pdb"
    )
    selector = f"app.kubernetes.io/instance={release.name}"
    until(lambda: not json.loads(release.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"], "pods go")
    left = json.loads(release.kubectl("get", kinds, "-l", selector, "-o", "json"))["items"]
    assert [(one["kind"], one["metadata"]["name"]) for one in left] == []


_RESULTS = (
    "import os,sys\n"
    "from middleware.configuration import load_settings\n"
    "from middleware.storage import open_storage\n"
    "sys.stdout.write(open_storage(load_settings().services.storage,None).read(f'reports/{sys.argv[1]}/results.json').decode())"
)


def _outcomes(database: Database, run: Run, method: str) -> dict[tuple[int, int, int], str]:
    """Outcome by trace, slot and source."""
    found = {}
    for episode in find_episodes(database, run, phase="evaluate", method=method, verdict="complete"):
        columns = read_tasks(database, run, [episode.episode])
        for slot, source, outcome in zip(columns.slot, columns.source, columns.outcome, strict=True):
            found[episode.plan.trace, int(slot), int(source)] = str(outcome)
    assert Counter(found.values())["success"]
    return found


def _answers(release: Release) -> bool:
    try:
        return release.status()["episode"] is not None
    except CommandFailed:
        return False


def _certificate_secret(release: Release, folder: Path) -> None:
    """What cert-manager would create: a certificate for all pods, and the authority that signed it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("pods")
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    files = [f"--from-file={folder / name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    release.kubectl("create", "secret", "generic", "pods-tls", *files)


def _evict(release: Release, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": release.space}}
    path = f"/api/v1/namespaces/{release.space}/pods/{pod}/eviction"
    subprocess.run(
        [KUBECTL, "create", "--raw", path, "-f", "-"],
        input=json.dumps(body),
        text=True,
        check=True,
        capture_output=True,
    )


def _edit_in_nacos(release: Release, scheduler: dict) -> None:
    """Change the scheduler as a user does in Nacos' console, and publish it."""
    url = urllib.parse.urlsplit(os.environ["OFFLOAD_TEST_CLUSTER_NACOS_URL"])
    place = f"http://{url.netloc}/nacos/v1/cs/configs"
    wanted = {"dataId": f"{release.run()}.live.json", "group": release.space}
    with urllib.request.urlopen(f"{place}?{urllib.parse.urlencode(wanted)}", timeout=5) as answer:
        content = json.loads(answer.read())
    edited = json.dumps({**content, "scheduler": scheduler}, indent=2)
    data = urllib.parse.urlencode({**wanted, "content": edited, "type": "json"}).encode()
    with urllib.request.urlopen(place, data=data, timeout=5) as answer:
        assert answer.read().strip() == b"true"
