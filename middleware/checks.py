"""Checks that the configured services work. Uses each as a run does, and reports its version and latency."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from middleware.configuration import watched_file
from middleware.configuration.layers import settings_in
from middleware.configuration.nacos import NacosConfiguration
from middleware.configuration.table import TableConfiguration
from middleware.database import Database, migrations, sqlite_file
from middleware.errors import ServiceError
from middleware.registry import Instance, Registry, open_registry
from middleware.registry.nacos import NacosRegistry
from middleware.storage import Storage, open_storage
from offload.errors import UserError
from offload.settings import ServiceSettings, redacted

_Found = tuple[str, float | None]
"""Version and latency."""
_LATER = "created by the first run"
_SEEN_S = 3.0
"""Real seconds to wait for a registered instance: Nacos shows a write only after a delay."""


@dataclass(frozen=True)
class ServiceCheck:
    """The result of checking one service.

    url: without the password
    version: as the service reports it; None if the check failed
    latency_s: real seconds of its cheapest request; None if the check sent none
    problem: what is wrong, for people; None if nothing is
    """

    service: str
    url: str
    version: str | None
    latency_s: float | None
    problem: str | None

    @property
    def is_fine(self) -> bool:
        """Whether a run can use the service."""
        return self.problem is None


def check_services(services: ServiceSettings) -> list[ServiceCheck]:
    """Check all four services, in the order database, storage, registry, configuration. Raises nothing.

    The checks remove what they write. A database without tables passes: the first run creates them.
    """
    return [
        _checked("database", services.database, lambda: _database(services)),
        _checked("storage", services.storage, lambda: _storage(services)),
        _checked("registry", services.registry, lambda: _registry(services)),
        _checked("configuration", services.configuration, lambda: _configuration(services)),
    ]


def _checked(service: str, url: str, check: Callable[[], _Found]) -> ServiceCheck:
    try:
        version, latency_s = check()
    except Exception as error:  # every error is reported as the problem of this service
        return ServiceCheck(service, redacted(url), None, None, _message(error))
    return ServiceCheck(service, redacted(url), version, latency_s, None)


def _database(services: ServiceSettings) -> _Found:
    with _connected(services) as database:
        if database is None:
            return f"SQLite, {_LATER}", None
        latency_s = _took(database.ping)
        found = migrations.current(database)
        if found is None:
            return f"{database.version()}; its tables are {_LATER}", latency_s
        if found not in migrations.KNOWN:
            database.check_schema()
        return database.version(), latency_s


def _storage(services: ServiceSettings) -> _Found:
    if services.storage != "database:":
        return _try_storage(open_storage(services.storage, None))
    with _connected(services) as database:
        if database is None or migrations.current(database) is None:
            return f"blobs in the database, {_LATER}", None
        return _try_storage(open_storage(services.storage, database))


def _try_storage(storage: Storage) -> _Found:
    probe, content = f"checks/{uuid.uuid4().hex}", uuid.uuid4().bytes
    storage.write(probe, content)
    try:
        if storage.read(probe) != content:
            raise RuntimeError("the storage returned other bytes than were written")
        latency_s = _took(lambda: storage.read(probe))
    finally:
        storage.delete(probe)
    return storage.describe(), latency_s


def _registry(services: ServiceSettings) -> _Found:
    if services.registry.startswith("nacos://"):
        registry = NacosRegistry(services.registry)
        latency_s = _try_registry(registry)
        return registry.version(), latency_s
    with _connected(services) as database:
        if database is None or migrations.current(database) is None:
            return f"a table, {_LATER}", None
        return f"a table of {database.version()}", _try_registry(open_registry(services.registry, database))


def _try_registry(registry: Registry) -> float:
    # A random address: two checks at the same time must not replace each other's instance.
    name, address = uuid.uuid4().hex, f"http://127.{'.'.join(map(str, uuid.uuid4().bytes[:3]))}:1"
    probe = Instance("check", name, "check", address, {}, time.time())
    registry.register(probe)
    try:
        until = time.monotonic() + _SEEN_S
        while not any(one.instance == name for one in registry.instances("check", "check")):
            if time.monotonic() > until:
                raise RuntimeError(f"the registry does not return a registered instance within {_SEEN_S:g} s")
            time.sleep(0.05)
        return _took(lambda: registry.instances("check", "check"))
    finally:
        registry.deregister(probe)


def _configuration(services: ServiceSettings) -> _Found:
    if services.configuration.startswith("nacos://"):
        configuration = NacosConfiguration(services.configuration)
        latency_s = _took(lambda: configuration.read("check"))
        return configuration.version(), latency_s
    path = watched_file(services.configuration)
    if path is not None:
        settings_in(path.read_bytes(), str(path))
    beside = "" if path is None else f", and {path}"
    with _connected(services) as database:
        if database is None or migrations.current(database) is None:
            return f"a table, {_LATER}{beside}", None
        table = TableConfiguration(database)
        latency_s = _took(lambda: table.read("check"))
        return f"a table of {database.version()}{beside}", latency_s


@contextmanager
def _connected(services: ServiceSettings) -> Iterator[Database | None]:
    """The database; None for a SQLite file that does not exist, because connecting would create it."""
    path = sqlite_file(services.database)
    if path is not None and not path.exists():
        yield None
        return
    database = Database.connect(services.database)
    try:
        yield database
    finally:
        database.close()


def _took(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _message(error: Exception) -> str:
    """The first line of an error. For a service's error, the service's own message."""
    if isinstance(error, ServiceError):
        return error.service_message or str(error)
    if isinstance(error, UserError | FileNotFoundError):
        return str(error)
    return f"{str(error).splitlines()[0] if str(error) else 'no reason given'} ({type(error).__name__})"
