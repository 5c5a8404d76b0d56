"""Tests that a second controller is rejected with the error that all commands use, which names the first one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from commands.local import open_run
from controller.holding import take_control
from middleware.database import LeaseHeld, LeaseHolder
from middleware.registry import Instance
from offload.settings import resolve_settings


@pytest.mark.parametrize(("holder", "address"), [("the first", ", at http://127.0.0.1:7"), ("another", "")])
def test_refusal_names_the_address_if_it_is_known(tmp_path: Path, holder: str, address: str) -> None:
    services = {"database": f"sqlite:///{tmp_path}/offload.db", "storage": f"file:{tmp_path}/storage"}
    opened = open_run(resolve_settings([{"network": {"nodes": 2}, "services": services}]), "r")
    stopping = threading.Event()

    def lease_of(name: str) -> LeaseHolder:
        return LeaseHolder(opened.database, opened.run, name, stopping, lambda lost: None)

    first = lease_of("the first")
    take_control(first, opened.registry, "r")
    metadata = {"holder": holder}
    opened.registry.register(Instance("controller", "0", "r", "http://127.0.0.1:7", metadata, 0.0))
    with pytest.raises(LeaseHeld) as refused:
        take_control(lease_of("the second"), opened.registry, "r")
    first.release()
    assert refused.value.holder == "the first"
    assert str(refused.value) == (
        f"run 'r' has a controller already{address} (the first); stop that one, or choose another name"
    )
