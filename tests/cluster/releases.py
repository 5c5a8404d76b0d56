"""Installs, changes, inspects and uninstalls Helm releases on a real cluster, for tests.

OFFLOAD_TEST_CLUSTER=yes: `kubectl` and `helm` (or OFFLOAD_TEST_KUBECTL, OFFLOAD_TEST_HELM) reach a cluster that tests
may use. It already has the images OFFLOAD_TEST_IMAGE and OFFLOAD_TEST_TRAINER_IMAGE.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "offload-testbed"
KUBECTL = os.environ.get("OFFLOAD_TEST_KUBECTL", "kubectl")
HELM = os.environ.get("OFFLOAD_TEST_HELM", "helm")
IMAGE = os.environ.get("OFFLOAD_TEST_IMAGE", "offload-testbed:0.1.0")
TRAINER_IMAGE = os.environ.get("OFFLOAD_TEST_TRAINER_IMAGE", "")
FIGURES = os.environ.get("OFFLOAD_TEST_FIGURES")


class CommandFailed(AssertionError):
    """kubectl or helm ended with an error; the message has its output."""


def call(*command: str, timeout_s: float = 300) -> str:
    """Run a command and return its output. Raises CommandFailed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}\n{done.stdout.strip()}")
    return done.stdout


def until(true: Callable[[], Any], what: str, timeout_s: float = 90) -> Any:
    """Wait until `true` returns a true value, and return it. AssertionError if that takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.3)


def note(name: str, value: Any) -> None:
    """Record a figure of this run. No test asserts durations."""
    print(f"{name}: {value}")
    if FIGURES:
        path = Path(FIGURES)
        known = json.loads(path.read_text()) if path.exists() else _where()
        path.write_text(json.dumps({**known, name: value}, indent=2) + "\n")


def _where() -> dict[str, Any]:
    """The machine and the commit of the figures."""
    kubernetes = json.loads(call(KUBECTL, "version", "-o", "json"))["serverVersion"]["gitVersion"]
    commit = call("git", "-C", str(CHART), "rev-parse", "--short", "HEAD").strip()
    return {"machine": f"{os.cpu_count()} cores, {platform.platform()}", "kubernetes": kubernetes, "commit": commit}


@contextmanager
def namespace(name: str, standard: str = "restricted") -> Iterator[str]:
    """A namespace that accepts only pods of this Pod Security Standard."""
    call(KUBECTL, "create", "namespace", name)
    try:
        call(KUBECTL, "label", "namespace", name, f"pod-security.kubernetes.io/enforce={standard}")
        yield name
    finally:
        call(KUBECTL, "delete", "namespace", name, "--wait=false")


class Release:
    """One release of the chart in a namespace."""

    def __init__(self, name: str, space: str, values: Mapping[str, Any], folder: Path) -> None:
        self.name, self.space = name, space
        repository, _, tag = IMAGE.rpartition(":")
        trainer, _, trainer_tag = TRAINER_IMAGE.rpartition(":")
        self.values: dict[str, Any] = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
            "trainer": {"image": {"repository": trainer or "none", "tag": trainer_tag}},
            **values,
        }
        self._file = folder / f"{name}.values.yaml"
        self.full = name if "offload-testbed" in name else f"{name}-offload-testbed"

    # --- Helm ---------------------------------------------------------------------------------------------------

    def install(self, timeout_s: int = 240) -> float:
        """`helm install --wait`; returns the seconds it took."""
        return self._helm("install", timeout_s)

    def upgrade(self, changes: Mapping[str, Any], wait: bool = True, timeout_s: int = 400) -> float:
        """`helm upgrade` with changed values, which later upgrades keep; returns the seconds it took."""
        self.values = merged(self.values, changes)
        return self._helm("upgrade", timeout_s, wait)

    def rollback(self, revision: int) -> None:
        """`helm rollback --wait`."""
        call(HELM, "rollback", self.name, str(revision), "-n", self.space, "--wait", "--timeout", "400s", timeout_s=420)

    def notes(self) -> str:
        """The notes that Helm prints after an installation."""
        return call(HELM, "get", "notes", self.name, "-n", self.space)

    def test(self) -> str:
        """`helm test`; returns its log."""
        return call(HELM, "test", self.name, "-n", self.space, "--timeout", "240s", timeout_s=260)

    def uninstall(self) -> None:
        """`helm uninstall --wait`."""
        call(HELM, "uninstall", self.name, "-n", self.space, "--wait", "--timeout", "200s")

    def _helm(self, verb: str, timeout_s: int, wait: bool = True) -> float:
        self._file.write_text(yaml.safe_dump(self.values))
        began = time.monotonic()
        waiting = ("--wait", "--timeout", f"{timeout_s}s") if wait else ()
        try:
            call(
                HELM,
                verb,
                self.name,
                str(CHART),
                "-n",
                self.space,
                "-f",
                str(self._file),
                *waiting,
                timeout_s=timeout_s + 60,
            )
        except CommandFailed as failed:
            raise CommandFailed(f"{failed}\n{self.describe()}") from None
        return time.monotonic() - began

    # --- inspection ----------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, timeout_s: float = 120) -> str:
        """`kubectl -n NAMESPACE ARGUMENTS`."""
        return call(KUBECTL, "-n", self.space, *arguments, timeout_s=timeout_s)

    def objects(self, kind: str, component: str | None = None) -> list[dict[str, Any]]:
        """The release's objects of a kind, of one component if it is given."""
        selector = f"app.kubernetes.io/instance={self.name}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def pods(self, component: str) -> dict[str, dict[str, Any]]:
        """The pods of a component, by name, without those that are terminating."""
        found = self.objects("pods", component)
        return {one["metadata"]["name"]: one for one in found if "deletionTimestamp" not in one["metadata"]}

    def restarts(self) -> dict[str, tuple[str, int]]:
        """The identity of each pod of nodes and controller, and its number of container restarts."""
        found = {**self.pods("node"), **self.pods("controller")}
        return {
            name: (pod["metadata"]["uid"], sum(one["restartCount"] for one in pod["status"]["containerStatuses"]))
            for name, pod in found.items()
        }

    def execute(self, *command: str, pod: str | None = None, timeout_s: float = 120) -> str:
        """Execute a command in a pod, by default the controller's."""
        where = ["-c", "controller", f"deploy/{self.full}-controller"] if pod is None else [pod]
        return self.kubectl("exec", *where, "--", *command, timeout_s=timeout_s)

    def rest(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request to the controller's REST interface from inside its pod, and return the answer."""
        program = (
            "import os,sys\n"
            "from middleware.http.access import Access\n"
            "access=Access.read(os.environ)\n"
            "asked=access.connection(access.scheme+'://127.0.0.1:8080',90)\n"
            "asked.request(sys.argv[1],sys.argv[2],sys.argv[3] or None,"
            "{**access.headers(),'Content-Type':'application/json'})\n"
            "answer=asked.getresponse(); text=answer.read().decode()\n"
            "sys.stdout.write(text) if answer.status<400 else sys.exit(text)"
        )
        text = self.execute("python", "-c", program, method, path, json.dumps(body) if body is not None else "")
        return json.loads(text) if text.startswith(("{", "[")) else text

    def status(self) -> dict[str, Any]:
        """`GET /v1/status`."""
        found: dict[str, Any] = self.rest("GET", "/v1/status")
        return found

    def run(self) -> str:
        """The run's name in the controller's pod."""
        return self.execute("sh", "-c", "echo $OFFLOAD_RUN").strip()

    def playing(self) -> int:
        """The number of the current episode, once its slots are played."""
        return int(until(lambda: self._in_slots(), "no episode is played")["episode"])

    def _in_slots(self) -> dict[str, Any] | None:
        episode = self.status()["episode"]
        return episode if episode and episode["slot"] is not None else None

    def ended(self, episode: int) -> dict[str, Any]:
        """An episode after its end."""
        return dict(until(lambda: self._over(episode), f"episode {episode} does not end", 120))

    def _over(self, episode: int) -> dict[str, Any] | None:
        found = self.rest("GET", f"/v1/episodes/{episode}?wait_s=10")
        return found if found["status"] != "open" else None

    def plays_complete(self, count: int = 1) -> list[dict[str, Any]]:
        """The next `count` complete episodes."""
        found: list[dict[str, Any]] = []
        seen: set[int] = set()

        def enough() -> bool:
            number = self.playing()
            if number not in seen:
                seen.add(number)
                episode = self.ended(number)
                if episode["verdict"] == "complete":
                    assert sum(episode["outcomes"].values()) == episode["tasks"]
                    found.append(episode)
            return len(found) >= count

        until(enough, f"{count} complete episodes", 180)
        return found

    def describe(self) -> str:
        """Information for finding the cause of a failure."""
        selector = f"app.kubernetes.io/instance={self.name}"
        parts = [self.kubectl("get", "pods", "-l", selector, "-o", "wide")]
        for component in ("prepare", "controller", "node", "trainer", "mysql", "namenode", "datanode", "nacos"):
            labels = f"{selector},app.kubernetes.io/component={component}"
            with suppress(CommandFailed):  # a container that has not started has no log
                parts.append(self.kubectl("logs", "-l", labels, "--all-containers", "--tail", "5", "--prefix"))
        return "\n".join(parts)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes, merged as Helm does."""
    result = dict(values)
    for key, value in changes.items():
        there = result.get(key)
        result[key] = merged(there, value) if isinstance(value, Mapping) and isinstance(there, Mapping) else value
    return result
