"""Renders the chart with Helm. OFFLOAD_TEST_HELM names the binary if `helm` is not on the path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "offload-testbed"
NEEDED = "OFFLOAD_TEST_HELM"
HELM = os.environ.get(NEEDED) or shutil.which("helm")
VALUES_FILES = sorted(path.name for path in CHART.glob("values*.yaml"))

needs_helm = pytest.mark.skipif(HELM is None, reason=f"there is no helm, and {NEEDED} names none")

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `helm ARGUMENTS`."""
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60)


def options(file: str | None, values: Mapping[str, Any]) -> list[str]:
    """The options for a values file of the chart, and for values (as `--set-json`)."""
    chosen = [] if file is None else ["-f", str(CHART / file)]
    return chosen + [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]


def render(file: str | None = None, *, name: str = "tb", version: str | None = None, **values: Any) -> list[Object]:
    """All rendered objects. values: keyed by their paths, with `__` for the dot."""
    given = {key.replace("__", "."): value for key, value in values.items()}
    api = [] if version is None else ["--kube-version", version]
    done = helm("template", name, str(CHART), "-n", "space", *api, *options(file, given))
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refused(**values: Any) -> str:
    """Helm's message for values that it rejects."""
    done = helm("template", "tb", str(CHART), *options(None, {key.replace("__", "."): v for key, v in values.items()}))
    assert done.returncode != 0, "they are taken"
    return done.stderr


def of_kind(objects: list[Object], kind: str, name: str | None = None) -> list[Object]:
    """The objects of a kind, whose name ends with `name` if it is given."""
    return [one for one in objects if one["kind"] == kind and (name is None or one["metadata"]["name"].endswith(name))]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The component and the spec of every pod."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["labels"]["app.kubernetes.io/component"], one["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = one["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def environment(spec: Object) -> dict[str, Any]:
    """The environment of a pod's first container; for secrets and fields of the pod, the reference."""
    found = {}
    for one in spec["containers"][0]["env"]:
        found[one["name"]] = one["value"] if "value" in one else next(iter(one["valueFrom"].values()))
    return found
