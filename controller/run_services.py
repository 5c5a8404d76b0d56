"""Opens the controller's run and its services: database, storage, registry, configuration.

Concurrency: the main thread opens them once, and they do not change afterwards. Any thread may use the adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from middleware.configuration import Configuration, load_settings, open_configuration
from middleware.database import Database, Run, load_network, load_run
from middleware.http.access import Access
from middleware.registry import EDGE_NODE, Instance, Registry, open_registry
from middleware.retrying import retry_while_unavailable
from middleware.storage import Storage, open_storage
from offload.network import Network
from offload.settings import ServiceSettings, SettingsError


@dataclass(frozen=True)
class RunServices:
    """A run, its network, and its open services. addresses: the URLs of the services."""

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
        """Open the run that `OFFLOAD_RUN` names, and its services.

        Waits while the database is unavailable. Raises UserError for a wrong configuration.
        """
        name = environment.get("OFFLOAD_RUN", "")
        if not name:
            raise SettingsError("OFFLOAD_RUN is not set; set it to the run's name")
        access = Access.read(environment)
        addresses = load_settings(environment=environment).services
        database = Database.connect(addresses.database)
        retry_while_unavailable(database.check_schema)
        run = retry_while_unavailable(lambda: load_run(database, name))
        return cls(
            run=run,
            network=retry_while_unavailable(lambda: load_network(database, run)),
            access=access,
            addresses=addresses,
            database=database,
            storage=open_storage(addresses.storage, database),
            registry=open_registry(addresses.registry, database),
            configuration=open_configuration(addresses.configuration, database, owner=True),
        )

    def registered_nodes(self) -> list[Instance]:
        """The registry's entries of the run's edge nodes, alive or not."""
        return self.registry.instances(EDGE_NODE, self.run.name)
