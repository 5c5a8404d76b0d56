"""The plain manifests beside this file, rendered from the chart: `python k8s/render.py` (or `make manifests`) writes them.

For those who do not use Helm. Passwords are nobody's to commit: the manifests refer to two Secrets, which their first lines say
how to make. OFFLOAD_TEST_HELM names the binary where `helm` is not on the path.
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
# Rendered from the chart by `python k8s/render.py`: do not edit. Installed without Helm by
#   kubectl create namespace {namespace}
#   kubectl -n {namespace} create secret generic testbed-token --from-literal=token=$(openssl rand -hex 32)
#   kubectl -n {namespace} create secret generic testbed-mysql --from-literal=password=$(openssl rand -hex 16)
#   kubectl -n {namespace} apply -f k8s/{name}.yaml
# and removed by `kubectl delete namespace {namespace}`. The image offload-testbed:{version} has to be in the cluster, or replaced by
# one of your registry: `kubectl kustomize` with `images:` does that.
"""


def manifests() -> dict[str, str]:
    """The files' contents by their names. Raises CalledProcessError with Helm's words."""
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
    """Write them."""
    for name, text in manifests().items():
        (HERE / name).write_text(text)
        print(f"k8s/{name} is written", file=sys.stderr)


if __name__ == "__main__":
    main()
