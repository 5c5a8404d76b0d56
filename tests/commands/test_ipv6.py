"""Tests a whole run whose pods use IPv6 only."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from running import Workplace, running, wait_until

from middleware.database import Database
from middleware.registry import open_registry

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("transfer", ["emulated", "payload"])
def test_episodes_are_played_on_the_ipv6_loopback(tmp_path: Path, transfer: str):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    workplace = Workplace(tmp_path)
    workplace.environment["OFFLOAD_BIND"] = "[::1]:0"
    with running(workplace, "serve", "--config", "small.yaml", "--set", f"node.transfer={transfer}") as process:
        wait_until(lambda: workplace.closed_episodes("serve") >= 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        database = Database.connect(workplace.database_url)
        registry = open_registry("database:", database)
        found = [one.address for service in ("controller", "edgenode") for one in registry.instances(service)]
        database.close()
        assert len(found) == 4
        assert all(address.startswith("http://[::1]:") for address in found), found
        changed = workplace.run("set", "scheduler.name=rda")
        assert changed.returncode == 0, changed.stdout
        works = workplace.run("selftest")
        assert works.returncode == 0, works.stdout
    wait_until(lambda: workplace.processes() == [], 30)
    counts = workplace.accounts("serve-small")
    assert counts["tasks"] == counts["outcomes"] == counts["matched"] > 0
