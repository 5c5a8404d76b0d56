"""The run that a controller works on, and the services that hold it.

Concurrency: the main thread opens them once. The adapters may be used by any thread; nothing here changes afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from middleware.configuration import Configuration, load_settings, open_configuration
from middleware.database import Database, Run, load_network, load_run
from middleware.http.access import Access
from middleware.patience import patiently
from middleware.registry import EDGE_NODE, Instance, Registry, open_registry
from middleware.storage import Storage, open_storage
from offload.network import Network
from offload.settings import ServiceSettings, SettingsError


@dataclass(frozen=True)
class RunServices:
    """A run, its network, and its opened services. addresses: the URLs of the services."""

    run: Run
    network: Network
    access: Access
    addresses: ServiceSettings
    database: Database
    storage: Storage
    registry: Registry
    configuration: Configuration

    @classmethod
    def open(cls, environment: Mapping[str, str]) -> RunServices:
        """The run that `OFFLOAD_RUN` names.

        Waits for a database that is unavailable. Raises UserError for a wrong start.
        """
        name = environment.get("OFFLOAD_RUN", "")
        if not name:
            raise SettingsError("OFFLOAD_RUN is not set; the controller needs the run's name")
        access = Access.read(environment)
        addresses = load_settings(environment=environment).services
        database = Database.connect(addresses.database)
        patiently(database.check_schema)
        run = patiently(lambda: load_run(database, name))
        return cls(
            run=run,
            network=patiently(lambda: load_network(database, run)),
            access=access,
            addresses=addresses,
            database=database,
            storage=open_storage(addresses.storage, database),
            registry=open_registry(addresses.registry, database),
            configuration=open_configuration(addresses.configuration, database, owner=True),
        )

    def registered_nodes(self) -> list[Instance]:
        """The run's edge nodes as the registry has them, alive or not."""
        return self.registry.instances(EDGE_NODE, self.run.name)
