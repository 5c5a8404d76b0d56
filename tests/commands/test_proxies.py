"""Tests that pods and services are never reached through a proxy of the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from proxies import CLOSED_PROXIES
from running import Workplace, running, wait_until


@pytest.mark.mysql
@pytest.mark.hdfs
@pytest.mark.nacos
def test_real_services_are_asked_directly(tmp_path: Path, mysql_url: str, hdfs_url: str, nacos_url: str):
    workplace = Workplace(tmp_path, mysql_url)
    workplace.environment |= CLOSED_PROXIES | {
        "OFFLOAD_SERVICES__STORAGE": hdfs_url,
        "OFFLOAD_SERVICES__REGISTRY": nacos_url,
        "OFFLOAD_SERVICES__CONFIGURATION": nacos_url,
    }
    checked = workplace.run("services", "check", "--json")
    assert checked.returncode == 0, checked.stdout
    assert all(one["fine"] for one in json.loads(checked.stdout[checked.stdout.index("{") :])["services"])
    prepared = workplace.run("prepare", "--run", "small", "--config", "small.yaml", timeout_s=60)
    assert prepared.returncode == 0, prepared.stdout
    awaited = workplace.run("await", "--run", "small", "--timeout", "20")
    assert awaited.returncode == 0, awaited.stdout


@pytest.mark.slow
def test_pods_ask_each_other_directly(tmp_path: Path):
    workplace = Workplace(tmp_path)
    workplace.environment |= CLOSED_PROXIES
    with running(workplace, "serve", "--config", "small.yaml", "--set", "node.transfer=payload"):
        wait_until(lambda: workplace.closed_episodes("serve") >= 1)
        status = workplace.run("status")
    assert status.returncode == 0, status.stdout
    wait_until(lambda: workplace.processes() == [], 30)
    counts = workplace.accounts("serve-small")
    assert counts["tasks"] == counts["outcomes"] == counts["matched"] > 0
