"""Renders the plain manifests in this folder from the chart, for installations without Helm.

    python k8s/render.py    # or: make manifests

The manifests contain no passwords. They refer to two Secrets; the first lines of each manifest show how to make them.
Set OFFLOAD_TEST_HELM to the path of Helm's binary if `helm` is not on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHART = HERE.parent / "helm" / "offload-testbed"
NAMESPACE = "offload-testbed"
VARIANTS = {"testbed": None, "minimal": "values-minimal.yaml"}
_SECRETS = ("--set", "token.existingSecret=testbed-token", "--set", "mysql.existingSecret=testbed-mysql")
_HEAD = """\
# Rendered from the chart by `python k8s/render.py`: do not edit. To install it without Helm:
#   kubectl create namespace {namespace}
#   kubectl -n {namespace} create secret generic testbed-token --from-literal=token=$(openssl rand -hex 32)
#   kubectl -n {namespace} create secret generic testbed-mysql --from-literal=password=$(openssl rand -hex 16)
#   kubectl -n {namespace} apply -f k8s/{name}.yaml
# To remove it: `kubectl delete namespace {namespace}`. The cluster needs the image offload-testbed:{version}. To use an
# image of your registry instead, replace it with `kubectl kustomize` and `images:`.
"""


def manifests() -> dict[str, str]:
    """The content of each file, by file name. Raises CalledProcessError with Helm's message."""
    helm = os.environ.get("OFFLOAD_TEST_HELM") or shutil.which("helm") or "helm"
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    found = {}
    for name, values in VARIANTS.items():
        chosen = ("-f", str(CHART / values)) if values else ()
        command = [helm, "template", "testbed", str(CHART), "-n", NAMESPACE, "--no-hooks", *chosen, *_SECRETS]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[f"{name}.yaml"] = _HEAD.format(namespace=NAMESPACE, name=name, version=version) + text
    return found


def main() -> None:
    """Write the manifests."""
    for name, text in manifests().items():
        (HERE / name).write_text(text)
        print(f"wrote k8s/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
