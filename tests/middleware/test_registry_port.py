"""Tests the registry: which processes are registered, at which address, and which are alive."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.database import Database
from middleware.database.schema import instances
from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.registry import MAX_AGE_S, Instance, Registry, keep_registered, open_registry
from middleware.registry.ages import Ages
from middleware.registry.nacos import _unpacked
from middleware.registry.table import TableRegistry


@pytest.fixture(params=["database", pytest.param("nacos", marks=pytest.mark.nacos)])
def registry(request: pytest.FixtureRequest, db: Database) -> Registry:
    url = request.getfixturevalue("nacos_url") if request.param == "nacos" else "database:"
    return open_registry(url, db)


def _instance(name: str = "0", run: str = "r", address: str = "http://127.0.0.1:1") -> Instance:
    return Instance("edgenode", name, run, address, {"pid": 1}, 100.0)


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
    """A new pod can get an address that another pod had."""
    for name in ("0", "1", "2"):
        own = _instance(name, address="http://127.0.0.1:1")
        registry.register(own)
        assert name in [one.instance for one in registry.instances("edgenode", "r")]
        assert registry.heartbeat(replace(own, metadata={"revision": 4}))
        registry.deregister(own)
        assert registry.instances("edgenode", "r") == []


def test_a_heartbeat_keeps_an_instance_alive_and_tells_what_changed(registry: Registry) -> None:
    registry.register(_instance())
    time.sleep(1.0)
    (silent,) = registry.instances("edgenode", "r")
    assert silent.age_s >= 0.9 and not silent.alive(0.5)
    for revision in (3, 4):
        assert registry.heartbeat(replace(_instance(), metadata={"pid": 1, "revision": revision}))
    (heard,) = registry.instances("edgenode", "r")
    assert heard.alive(0.5)
    assert heard.metadata == {"pid": 1, "revision": 4}
    assert heard.started_at == 100.0


def test_a_heartbeat_of_one_who_is_not_registered_says_so(registry: Registry) -> None:
    """An instance must learn that its entry was removed, to register again."""
    registry.register(_instance())
    registry.deregister(_instance())
    registry.deregister(_instance())
    with pytest.raises(LookupError, match="edgenode 0 of run 'r' is not registered"):
        registry.heartbeat(_instance())
    assert registry.instances("edgenode", "r") == []


SUCCESSORS = [
    pytest.param("http://127.0.0.1:2", 200.0, id="elsewhere"),
    pytest.param("http://127.0.0.1:1", 200.0, id="at the same address"),
]


@pytest.mark.parametrize(("address", "started_at"), SUCCESSORS)
def test_a_predecessor_that_ends_does_not_take_its_successor_out(
    registry: Registry, address: str, started_at: float
) -> None:
    predecessor, successor = _instance(), replace(_instance(address=address), started_at=started_at)
    registry.register(predecessor)
    registry.register(successor)
    registry.deregister(predecessor)
    assert [one.address for one in registry.instances("edgenode", "r")] == [address]
    registry.deregister(successor)
    assert registry.instances("edgenode", "r") == []


def test_a_predecessor_that_was_frozen_leaves_its_successors_entry_alone(registry: Registry) -> None:
    predecessor = _instance()
    successor = replace(_instance(address="http://127.0.0.1:2"), started_at=200.0, metadata={"pid": 2})
    registry.register(predecessor)
    registry.register(successor)
    registry.heartbeat(successor)
    for _ in range(3):
        assert not keep_registered(registry, predecessor)
    (found,) = registry.instances("edgenode", "r")
    assert (found.address, found.metadata) == ("http://127.0.0.1:2", {"pid": 2})


def test_a_process_takes_its_name_back_from_one_that_died(registry: Registry) -> None:
    survivor = replace(_instance(), started_at=200.0)
    registry.register(survivor)
    registry.register(_instance(address="http://127.0.0.1:2"))
    time.sleep(MAX_AGE_S + 0.5)
    until = time.monotonic() + 20
    while [one.address for one in registry.instances("edgenode", "r") if one.alive()] != ["http://127.0.0.1:1"]:
        assert time.monotonic() < until
        assert keep_registered(registry, survivor)
        time.sleep(0.5)


def test_a_wrong_clock_of_one_machine_does_not_make_its_instances_dead(registry: Registry, monkeypatch) -> None:
    """The database's clock is used by all. With Nacos, readers determine the difference to a sender's clock."""
    by_table = isinstance(registry, TableRegistry)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    registry.register(_instance())
    monkeypatch.setattr(time, "time", right)
    assert registry.instances("edgenode", "r")[0].alive() == by_table
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    registry.heartbeat(_instance())
    monkeypatch.setattr(time, "time", right)
    (found,) = registry.instances("edgenode", "r")
    assert found.alive()
    assert found.clock_off_s == (None if by_table else pytest.approx(3600, abs=5))


class Flapping:
    """A registry that loses its entries, and is unavailable at chosen moments, which a real server cannot do."""

    def __init__(self) -> None:
        self.unavailable, self.refuses, self.registered = True, False, 0

    def heartbeat(self, instance: Instance) -> bool:
        if not self.registered:
            raise LookupError("not registered")
        return True

    def register(self, instance: Instance) -> None:
        if self.unavailable:
            raise (ServiceRefused if self.refuses else ServiceUnavailable)("nacos://x does not answer")
        self.registered += 1


def test_process_registers_again_after_registry_errors() -> None:
    registry = Flapping()
    for registry.refuses in (False, True, False):
        keep_registered(registry, _instance())
    assert registry.registered == 0
    registry.unavailable = False
    for _ in range(3):
        keep_registered(registry, _instance())
    assert registry.registered == 1


def test_a_url_without_an_adapter_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match=r"services\.registry: there is no adapter for 'consul://x'"):
        open_registry("consul://x", db)


def test_ages_by_heartbeats_of_clocks_that_differ() -> None:
    now = [1000.0]
    ages = Ages(clock=lambda: now[0], timer=lambda: now[0])

    def look(**heartbeats: float) -> dict[str, tuple[float, float | None]]:
        found = ages.look("edgenode", heartbeats)
        return {key: (one.age_s, one.clock_off_s) for key, one in found.items()}

    assert look(right=999.0, behind=960.0, ahead=1040.0) == {
        "right": (1.0, None), "behind": (40.0, None), "ahead": (40.0, None),
    }  # fmt: skip
    now[0] = 1001.0
    changed = look(right=1000.5, behind=961.0, ahead=1041.0)
    assert changed == {"right": (0.0, 0.0), "behind": (0.0, -39.0), "ahead": (0.0, 40.0)}
    now[0] = 1008.0
    assert look(right=1000.5, behind=967.0, ahead=1041.0) == {
        "right": (7.0, 0.0), "behind": (7.0, -34.0), "ahead": (7.0, 40.0),
    }, "after seven seconds nobody knows when the second one's came"  # fmt: skip
    now[0] = 1009.0
    assert look(right=999.0, behind=968.0)["right"] == (8.0, 0.0), "an old answer is not a heartbeat"


FOREIGN = [
    {"instance": "abc"},
    {"instance": "9" * 400},
    {"address": "mail.example.org"},
    {"address": "http://h:1/\n"},
    {"metadata": []},
]


@pytest.mark.parametrize("wrong", FOREIGN)
def test_a_row_that_is_none_of_ours_is_ignored_and_logged_once(
    db: Database, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One such row ended the controller, and with it the run."""
    registry = open_registry("database:", db)
    registry.register(_instance("0"))
    row = {
        "service": "edgenode",
        "instance": "1",
        "run": "r",
        "address": "http://127.0.0.1:1",
        "metadata": {},
        "started_at": 1.0,
        "heartbeat_at": 1.0,
    }
    try:
        with db.transaction() as connection:
            connection.execute(sa.insert(instances).values({**row, **wrong}))
    except ServiceRefused:
        pytest.skip("this database does not take it")
    for _ in range(3):
        assert [one.instance for one in registry.instances("edgenode", "r")] == ["0"]
    assert caplog.text.count("is ignored") == 1


@pytest.mark.parametrize(
    "ours",
    [
        "[" * 100_000,
        "[]",
        "7",
        json.dumps({"instance": "1"}),
        *(
            json.dumps(
                {
                    "instance": "1",
                    "run": "r",
                    "address": "http://127.0.0.1:1",
                    "metadata": {},
                    "started_at": 1.0,
                    "heartbeat_at": 1.0,
                    **wrong,
                }
            )
            for wrong in [*FOREIGN, {"heartbeat_at": 10**400}, {"started_at": "x"}, {"address": 7}, {"run": None}]
        ),
    ],
)
def test_an_entry_in_nacos_that_is_damaged_is_named(ours: str) -> None:
    with pytest.raises(ValueError):
        _unpacked("edgenode", {"ip": "h", "port": 1, "metadata": {"offload": ours}})


def test_another_programs_entry_in_nacos_is_nothing_to_complain_of() -> None:
    assert _unpacked("edgenode", {"ip": "h", "port": 1, "metadata": {"version": "1"}}) is None
    assert _unpacked("edgenode", {"ip": "h", "port": 1, "metadata": None}) is None


def test_other_services_may_be_called_otherwise(registry: Registry) -> None:
    """`offload services check` registers itself under a unique name."""
    registry.register(replace(_instance("71207475be334addbdb54a04b33b89da"), service="check"))
    assert len(registry.instances("check")) == 1
