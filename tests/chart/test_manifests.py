"""Tests that the plain manifests equal what the chart renders, and contain no password."""

from __future__ import annotations

import importlib.util

import pytest
import yaml
from rendering import ROOT, needs_helm

_spec = importlib.util.spec_from_file_location("render_manifests", ROOT / "k8s" / "render.py")
render_manifests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render_manifests)


@needs_helm
def test_they_are_current():
    for name, text in render_manifests.manifests().items():
        assert (ROOT / "k8s" / name).read_text() == text, f"k8s/{name} is old: run `make manifests`"


@pytest.mark.parametrize("name", ["testbed", "minimal"])
def test_they_are_whole_and_without_secrets(name):
    objects = [one for one in yaml.safe_load_all((ROOT / "k8s" / f"{name}.yaml").read_text()) if one]
    kinds = {one["kind"] for one in objects}
    assert {"StatefulSet", "Deployment", "Job", "Service", "ConfigMap", "NetworkPolicy"} <= kinds
    assert "Secret" not in kinds
    assert {one["metadata"].get("namespace", "offload-testbed") for one in objects} == {"offload-testbed"}
