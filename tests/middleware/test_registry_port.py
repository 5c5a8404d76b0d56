"""Who is there, where, and alive."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from middleware.database import Database
from middleware.outages import ServiceAway
from middleware.registry import Instance, Registry, keep_registered, open_registry


@pytest.fixture(params=["database", pytest.param("nacos", marks=pytest.mark.nacos)])
def registry(request: pytest.FixtureRequest, db: Database) -> Registry:
    url = request.getfixturevalue("nacos_url") if request.param == "nacos" else "database:"
    return open_registry(url, db)


def _instance(name: str = "0", run: str = "r", address: str = "http://127.0.0.1:1") -> Instance:
    return Instance("edgenode", name, run, address, {"pid": 1}, 100.0, time.time())


def test_registered_instances_are_found_by_service_and_run_in_numeric_order(registry: Registry) -> None:
    for name in ("10", "2", "0"):
        registry.register(_instance(name, address=f"http://127.0.0.1:1{name}"))
    registry.register(_instance("0", run="other", address="http://127.0.0.1:2"))
    registry.register(replace(_instance(), service="controller"))
    assert [one.instance for one in registry.instances("edgenode", "r")] == ["0", "2", "10"]
    assert len(registry.instances("edgenode")) == 4


def test_a_restarted_process_replaces_its_old_entry(registry: Registry) -> None:
    registry.register(_instance(address="http://127.0.0.1:1"))
    registry.register(_instance(address="http://127.0.0.1:2"))
    assert [one.address for one in registry.instances("edgenode", "r")] == ["http://127.0.0.1:2"]


def test_an_address_may_be_taken_over_by_another_process(registry: Registry) -> None:
    """Pods are given addresses that others have had."""
    for name in ("0", "1", "2"):
        registry.register(_instance(name, address="http://127.0.0.1:1"))
        assert name in [one.instance for one in registry.instances("edgenode", "r")]
        registry.heartbeat("edgenode", name, "r", {"revision": 4})
        registry.deregister("edgenode", name, "r")
        assert registry.instances("edgenode", "r") == []


def test_a_heartbeat_keeps_an_instance_alive_and_tells_what_changed(registry: Registry) -> None:
    registry.register(replace(_instance(), heartbeat_at=time.time() - 60))
    (silent,) = registry.instances("edgenode", "r")
    assert not silent.alive(time.time())
    for _ in range(2):  # the second one changes nothing but the instant
        registry.heartbeat("edgenode", "0", "r", {"pid": 1, "revision": 4})
    (heard,) = registry.instances("edgenode", "r")
    assert heard.alive(time.time())
    assert heard.metadata == {"pid": 1, "revision": 4}
    assert heard.started_at == 100.0


def test_a_heartbeat_of_one_who_is_not_registered_says_so(registry: Registry) -> None:
    """An instance must learn that it was taken out, to register again."""
    registry.register(_instance())
    registry.deregister("edgenode", "0", "r")
    registry.deregister("edgenode", "0", "r")
    with pytest.raises(LookupError, match="edgenode 0 of run 'r' is not registered"):
        registry.heartbeat("edgenode", "0", "r", {})
    assert registry.instances("edgenode", "r") == []


class Flapping:
    """A registry that forgets everybody, and is away at the wrong moment: no server does that when it is asked to."""

    def __init__(self) -> None:
        self.away, self.refuses, self.registered = True, False, 0

    def heartbeat(self, *_: object) -> None:
        if not self.registered:
            raise LookupError("not registered")

    def register(self, instance: Instance) -> None:
        if self.away:
            raise (PermissionError if self.refuses else ServiceAway)("nacos://x does not answer")
        self.registered += 1


def test_a_process_stays_alive_and_registers_again_whatever_the_registry_does() -> None:
    registry = Flapping()
    for registry.refuses in (False, True, False):
        keep_registered(registry, _instance())
    assert registry.registered == 0
    registry.away = False
    for _ in range(3):
        keep_registered(registry, _instance())
    assert registry.registered == 1


def test_a_url_without_an_adapter_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match=r"services\.registry: there is no adapter for 'consul://x'"):
        open_registry("consul://x", db)
