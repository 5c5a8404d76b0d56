"""Tests the objects that Helm renders: Kubernetes accepts them, in every version and with every values file.

The default values are secure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from rendering import CHART, VALUES_FILES, environment, helm, needs_helm, of_kind, pods, refused, render

from middleware.configuration.layers import settings_in
from offload.settings import Settings

pytestmark = needs_helm

OURS = ("node", "controller", "trainer", "prepare", "test", "check")
CUSTOM = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
VERSIONS = ("1.27", "1.31", "1.34", "1.37")


@pytest.mark.parametrize("file", VALUES_FILES)
def test_helm_lints_it(file):
    done = helm("lint", str(CHART), "--strict", "-f", str(CHART / file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", VALUES_FILES)
def test_kubernetes_takes_every_object(file, version):
    everything = {"pipeline__enabled": True, "podFailures__enabled": True, "node__persistence": {"enabled": True}}
    for one in render(file, version=f"{version}.0", **everything):
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


def test_an_older_kubernetes_is_refused():
    done = helm("template", "tb", str(CHART), "--kube-version", "1.26.0")
    assert "requires kubeVersion: >=1.27" in done.stderr


@pytest.mark.parametrize("file", VALUES_FILES)
def test_names_fit_and_labels_identify_the_release(file):
    long = "a-name-as-long-as-helm-allows-it-to-be-with-53-chars"
    objects = render(file, name=long, pipeline__enabled=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    for one in objects:
        # A StatefulSet's pods append an ordinal to the name, a Job's pods five letters.
        assert len(one["metadata"]["name"]) <= 58, one["metadata"]["name"]
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == long


def test_own_pods_are_restricted_with_a_read_only_root():
    for component, spec in pods(render(pipeline__enabled=True)):
        if component not in OURS:
            continue
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] >= 10000, component
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def test_bundled_services_drop_what_their_images_do_not_need():
    for component, spec in pods(render()):
        if component in OURS:
            continue
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, component
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, component
        if component != "nacos":  # Nacos' image runs as root
            assert spec["securityContext"]["runAsNonRoot"] is True, component
            assert container["readinessProbe"] and container["livenessProbe"] and container["startupProbe"]


def test_only_the_controller_speaks_to_the_api_and_only_of_pods():
    objects = render(pipeline__enabled=True)
    tokens = {component: spec["automountServiceAccountToken"] for component, spec in pods(objects)}
    assert [component for component, mounted in tokens.items() if mounted] == ["controller"]
    assert [role["rules"] for role in of_kind(objects, "Role")] == [
        [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    ]
    with_failures = {
        role["metadata"]["name"]: role["rules"][0]["verbs"]
        for role in of_kind(render(podFailures__enabled=True), "Role")
    }
    assert with_failures == {
        "tb-offload-testbed-controller": ["get", "list", "watch"],
        "tb-offload-testbed-pod-failures": ["delete"],
    }


def test_there_are_as_many_pods_as_nodes_and_their_ordinal_is_the_index():
    nodes = of_kind(render(settings__network__nodes=23), "StatefulSet", "-node")[0]["spec"]
    assert nodes["replicas"] == 23 and nodes["podManagementPolicy"] == "Parallel"
    assert "${HOSTNAME##*-}" in nodes["template"]["spec"]["containers"][0]["command"][-1]
    service = of_kind(render(), "Service", "-node")[0]["spec"]
    assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True


def test_live_settings_upgrade_changes_no_pod():
    def templates(**values):
        return {
            one["metadata"]["name"]: one["spec"]["template"]
            for kind in ("StatefulSet", "Deployment")
            for one in of_kind(render(**values), kind)
        }

    def run(**values):
        return environment(templates(**values)["tb-offload-testbed-controller"]["spec"])["OFFLOAD_RUN"]

    assert templates(settings__scheduler={"name": "sed"}, settings__log_level="DEBUG") == templates()
    assert run() == run(settings__scheduler__name="sed")
    assert len({run(), run(settings__network__nodes=12), run(settings__time__slots=20), run(settings__seed=2)}) == 4
    assert run(run__name="mine") == run(run__name="mine", settings__seed=2) == "mine"


def test_a_changed_pipeline_is_another_job():
    def name(**values):
        return _pipeline(**values)["metadata"]["name"]

    names = [name(), name(settings__seed=2), name(trainer__image__tag="2")]
    assert len(set(names)) == 3 and name(settings__scheduler__name="sed") == names[0]
    assert not [one for one in of_kind(render(), "Job") if "pipeline" in one["metadata"]["name"]]


def test_the_mounted_settings_are_what_the_program_reads():
    given = {
        "network": {"nodes": 7, "rate_bps": ["10 MB/s", "40 MB/s"]},
        "seed": 12345678,
        "offline": {"buffer_slots": 3000000},
        "preset": "paper-testbed",
    }
    text = of_kind(render(settings=given), "ConfigMap")[0]["data"]["settings.yaml"]
    settings = settings_in(text.encode(), "settings.yaml")
    assert (settings.network.nodes, settings.seed, settings.offline.buffer_slots) == (7, 12345678, 3000000)
    assert settings.network.rate_bps == (80e6, 320e6)
    assert settings.tasks.size_bits == (4e6, 20e6)


def test_controller_pod_is_recreated_and_is_the_lease_holder():
    rendered = render()
    (deployment,) = of_kind(rendered, "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    variables = environment(deployment["spec"]["template"]["spec"])
    assert variables["OFFLOAD_HOLDER"] == "pod $(POD_NAMESPACE)/$(POD_NAME)"
    assert variables["POD_NAMESPACE"] == {"fieldPath": "metadata.namespace"}
    assert variables["POD_NAME"] == {"fieldPath": "metadata.name"}
    # Only later entries can refer to a variable.
    assert list(variables).index("POD_NAME") < list(variables).index("OFFLOAD_HOLDER")
    others = [environment(spec) for component, spec in pods(rendered) if component != "controller"]
    assert not any("OFFLOAD_HOLDER" in found for found in others)


@pytest.mark.parametrize("file", [None, "values-minimal.yaml", "values-production.yaml"])
def test_each_service_is_the_charts_an_external_one_or_the_database(file):
    found = environment(next(spec for component, spec in pods(render(file)) if component == "controller"))
    services = {key.removeprefix("OFFLOAD_SERVICES__"): found[key] for key in found if "SERVICES" in key}
    expected = {
        None: {
            "DATABASE": "mysql+pymysql://offload@tb-offload-testbed-mysql:3306/offload",
            "STORAGE": "hdfs+http://offload@tb-offload-testbed-namenode:9870/offload",
            "REGISTRY": "nacos://tb-offload-testbed-nacos:8848",
            "CONFIGURATION": "nacos://tb-offload-testbed-nacos:8848",
        },
        "values-minimal.yaml": {
            "DATABASE": "mysql+pymysql://offload@tb-offload-testbed-mysql:3306/offload",
            "STORAGE": "database:",
            "REGISTRY": "database:",
            "CONFIGURATION": "file:/etc/offload/settings.yaml",
        },
        "values-production.yaml": {
            "DATABASE": "mysql+pymysql://offload@mysql.example.com:3306/offload",
            "STORAGE": "hdfs+http://offload@namenode.example.com:9870/offload",
            "REGISTRY": "nacos://offload@nacos.example.com:8848",
            "CONFIGURATION": "nacos://offload@nacos.example.com:8848",
        },
    }
    assert services == expected[file]
    Settings.model_validate({"services": {key.lower(): url for key, url in services.items()}})


def test_no_password_and_no_token_stands_anywhere_but_in_a_secret():
    objects = render()
    secrets = [value for one in of_kind(objects, "Secret") for value in one["data"].values()]
    assert len(secrets) == 2 and all(len(value) > 30 for value in secrets)
    rest = json.dumps([one for one in objects if one["kind"] != "Secret"])
    assert not any(value in rest for value in secrets)
    external = render("values-production.yaml")
    assert of_kind(external, "Secret") == []
    found = environment(next(spec for component, spec in pods(external) if component == "node"))
    assert found["OFFLOAD_DATABASE_PASSWORD"] == {"name": "offload-mysql", "key": "password"}
    assert found["OFFLOAD_NACOS_PASSWORD"] == {"name": "offload-nacos", "key": "password"}
    assert found["OFFLOAD_TOKEN"] == {"name": "offload-token", "key": "token"}


def test_with_tls_probes_and_pods_speak_https():
    for component, spec in pods(render(tls__existingSecret="pods-tls")):
        if component not in OURS or component == "check":  # which sends no requests
            continue
        found, container = environment(spec), spec["containers"][0]
        assert found["OFFLOAD_TLS_CERTIFICATE"] == "/etc/offload-tls/tls.crt"
        assert {"name": "tls", "mountPath": "/etc/offload-tls", "readOnly": True} in container["volumeMounts"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container.get(probe, {"httpGet": {"scheme": "HTTPS"}})["httpGet"]["scheme"] == "HTTPS"


def test_every_pod_has_a_policy_and_reaches_what_it_needs_only():
    objects = render(pipeline__enabled=True)
    policies = {
        one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]
        for one in of_kind(objects, "NetworkPolicy")
    }
    assert set(policies) == {component for component, _ in pods(objects)}

    def peers(rules, key):
        return {
            (peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
            for rule in rules
            for peer in rule.get(key, [])
            if "podSelector" in peer
            for port in rule["ports"]
        }

    # What one side may send, the other side accepts.
    sent = {(role, other, port) for role, policy in policies.items() for other, port in peers(policy["egress"], "to")}
    taken = {
        (other, role, port)
        for role, policy in policies.items()
        for other, port in peers(policy.get("ingress") or [], "from")
    }
    assert sent == taken
    assert {(role, other) for role, other, _ in sent if other in OURS} == {
        ("node", "node"), ("node", "controller"), ("controller", "node"),
        ("trainer", "controller"), ("test", "controller"),
    }  # fmt: skip
    assert not policies["prepare"]["ingress"] and not policies["trainer"]["ingress"]
    # Besides DNS, the API's address is the only one outside that the controller may reach.
    assert [
        peer["ipBlock"]["cidr"]
        for rule in policies["controller"]["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ] == ["0.0.0.0/0", "::/0"]
    assert not [rule for rule in policies["node"]["egress"] if "ipBlock" in str(rule)]


def test_pods_are_reached_by_ipv4_and_ipv6():
    binds = {
        variable["value"]
        for one in render()
        if one["kind"] in ("StatefulSet", "Deployment")
        for container in one["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", [])
        if variable["name"] == "OFFLOAD_BIND"
    }
    assert binds == {"[::]:8080"}
    given = render(
        mysql__enabled=False, mysql__host="db", mysql__existingSecret="s", networkPolicy__externalCidr="fd00::/8"
    )
    (policy,) = [one for one in given if one["metadata"]["name"].endswith("-node") and one["kind"] == "NetworkPolicy"]
    assert {"ipBlock": {"cidr": "fd00::/8"}} in [
        peer for rule in policy["spec"]["egress"] for peer in rule.get("to", [])
    ]


def test_data_goes_with_the_release_unless_it_is_to_be_kept():
    def retention(**values):
        return {
            one["metadata"]["name"].removeprefix("tb-offload-testbed-"): one["spec"][
                "persistentVolumeClaimRetentionPolicy"
            ]["whenDeleted"]
            for one in of_kind(render(**values), "StatefulSet")
            if "volumeClaimTemplates" in one["spec"]
        }  # fmt: skip

    assert retention() == {"mysql": "Delete", "namenode": "Delete", "datanode": "Delete", "nacos": "Delete"}
    kept = retention(mysql__persistence__keep=True, node__persistence={"enabled": True, "keep": True})
    assert kept["mysql"] == kept["node"] == "Retain"
    secret = of_kind(render(mysql__persistence__keep=True), "Secret", "-mysql")[0]
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not [
        one for one in of_kind(render("values-ci.yaml"), "StatefulSet") if "volumeClaimTemplates" in one["spec"]
    ]


def _pipeline(**values):
    return next(
        one for one in of_kind(render(pipeline__enabled=True, **values), "Job") if "pipeline" in one["metadata"]["name"]
    )


def test_a_trainer_with_a_gpu_asks_for_one():
    limits = _pipeline(trainer__gpus=1)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "2Gi", "nvidia.com/gpu": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings__network__nodes": 0}, "settings.network.nodes"),
        ({"settings__network__nodez": 3}, "nodez"),
        ({"settings__time__slot_s": "1 parsec"}, "settings.time.slot_s"),
        ({"settings__time__failure_timing": "never"}, "settings.time.failure_timing"),
        ({"settings__services": {"database": "x"}}, "services"),
        ({"settings__preset": "best"}, "settings.preset"),
        ({"image__pullPolicy": "Sometimes"}, "pullPolicy"),
        ({"nodes": 3}, "nodes"),
        ({"podFailures__perPodAndHour": 0}, "perPodAndHour"),
        ({"mysql__enabled": False}, "mysql.host is empty: set it to the server's host"),
        ({"mysql__enabled": False, "mysql__host": "db"}, "mysql.existingSecret is empty: set it to a Secret"),
        ({"hdfs__url": "hdfs+http://there:9870/offload"}, "set hdfs.enabled=false"),
        ({"hdfs": {"enabled": False, "url": "http://there"}}, "hdfs.url"),
        ({"nacos__url": "nacos://there:8848"}, "set nacos.enabled=false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_before_anything_is_installed(values, message):
    assert message in refused(**values)


def test_quantities_with_units_are_taken():
    render(
        settings__tasks__size_bits=["500 KB", "2.5 MB"],
        settings__time__slot_s="50 ms",
        settings__node__overload_threshold_s=None,
    )


def test_values_files_change_what_is_there_only():
    whole = yaml.safe_load((CHART / "values.yaml").read_text())
    for file in VALUES_FILES:
        _compare(yaml.safe_load((CHART / file).read_text()) or {}, whole, file)


def _compare(part, whole, where):
    for key, value in part.items():
        if where.endswith("settings"):
            continue  # the program's settings, which the schema contains
        assert key in whole, f"{where}.{key}"
        if isinstance(value, dict) and isinstance(whole[key], dict) and whole[key]:
            _compare(value, whole[key], f"{where}.{key}")


def _checked(tmp_path, monkeypatch, **values):
    """Run the command of the Job that checks settings, with its mounted files and its environment."""
    objects = render(**values)
    job, mounted = of_kind(objects, "Job", "-check-settings")[0], of_kind(objects, "ConfigMap", "-check-settings")[0]
    container = job["spec"]["template"]["spec"]["containers"][0]
    (tmp_path / "settings.yaml").write_text(mounted["data"]["settings.yaml"])
    *command, path = container["command"]
    assert path == "/etc/offload/settings.yaml"
    environ = {one["name"]: one["value"] for one in container["env"]}
    monkeypatch.chdir(tmp_path)
    return subprocess.run(
        [sys.executable, "-m", "commands.main", *command[1:], str(tmp_path / "settings.yaml")],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_wrong_settings_fail_an_upgrade_before_anything_of_it_is_there(tmp_path, monkeypatch):
    objects = render()
    for one in (*of_kind(objects, "Job", "-check-settings"), *of_kind(objects, "ConfigMap", "-check-settings")):
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = of_kind(objects, "Job", "-check-settings")[0]["spec"]
    assert spec["backoffLimit"] == 0
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    # It mounts nothing that the release creates later: the Job would wait for that.
    made = {one["metadata"]["name"] for one in objects if "helm.sh/hook" not in one["metadata"].get("annotations", {})}
    volumes = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    assert not made & {pod["serviceAccountName"], *volumes}
    assert "secretKeyRef" not in json.dumps(pod)
    fine = _checked(tmp_path, monkeypatch, settings__offline={"buffer_slots": 1e6})
    assert fine.returncode == 0, fine.stderr
    for wrong, message in (
        ({"settings__scheduler": {"name": "sedd"}}, "scheduler.name: unknown scheduler 'sedd', did you mean sed?"),
        ({"settings__evaluation": {"methods": ["ratc", "drl"]}}, "evaluation.methods: 'drl' needs a model"),
        (
            {"settings__node": {"application": "cppu"}},
            "node.application: unknown application 'cppu', did you mean cpu?",
        ),
        (
            {"mysql__enabled": False, "mysql__host": "db:x", "mysql__existingSecret": "s"},
            ": 'db:x' is not a host; write IPv6",
        ),
    ):
        refused = _checked(tmp_path, monkeypatch, **wrong)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_a_device_that_is_none_is_refused_by_the_schema():
    assert "learner" in refused(settings__learner={"device": "gpu"})
