"""Creates and loads runs: the settings, versions and network of one experiment, under a name."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Row

from middleware.database.engine import Database
from middleware.database.errors import ConstraintRefused
from middleware.database.schema import links, nodes, runs
from offload.errors import UserError
from offload.network import Network
from offload.settings import Settings, redacted, resolve_settings

_logger = logging.getLogger(__name__)


PLAYED_BY, TWIN = "played by", "the numeric twin"
"""Key and value in a run's versions: the numeric twin computes its episodes, without pods."""
FOLDER = "folder"
"""Key in a run's versions: the absolute path of its results. It is not a version."""


class RunConflict(UserError):
    """A run of this name exists with other settings. The message names them."""


class UnknownRun(UserError, LookupError):
    """There is no run of this name. The message lists the existing runs."""


@dataclass(frozen=True)
class Run:
    """A recorded run. `settings.services` has the defaults, because addresses are not part of an experiment.

    uid: random, to distinguish runs of the same name in different databases
    """

    number: int
    uid: str
    name: str
    settings: Settings
    services: Mapping[str, str]
    versions: Mapping[str, str]
    created_at: float

    @property
    def by_twin(self) -> bool:
        """Whether the numeric twin computes this run's episodes."""
        return self.versions.get(PLAYED_BY) == TWIN


def create_run(db: Database, name: str, settings: Settings, network: Network, versions: Mapping[str, str]) -> Run:
    """The run `name`. Creates it with its network if it does not exist.

    Raises RunConflict if it exists with other settings; the message names them. Live settings may differ, because they
    may change during a run.
    """
    try:
        with db.transaction() as connection:
            if connection.execute(sa.select(runs.c.id).where(runs.c.name == name)).one_or_none() is None:
                number = connection.execute(
                    sa.insert(runs).values(
                        name=name,
                        uid=uuid.uuid4().hex,
                        settings=settings.experiment(),
                        services={key: redacted(url) for key, url in settings.services.model_dump().items()},
                        versions=dict(versions),
                        created_at=time.time(),
                    )
                ).inserted_primary_key[0]  # type: ignore[index]
                _insert_network(connection, number, network)
    except ConstraintRefused:
        _logger.info("the run '%s' was created by another process", name)
    run = load_run(db, name)
    if differences := _differences(run.settings.fixed(), settings.fixed()):
        raise RunConflict(
            f"the run '{name}' exists with other settings: {'; '.join(differences[:6])}. "
            "Choose another name with --out or --run"
        )
    return run


def load_run(db: Database, name: str) -> Run:
    """The run with this name. Raises UnknownRun."""
    with db.reading() as connection:
        row = connection.execute(sa.select(runs).where(runs.c.name == name)).one_or_none()
        if row is None:
            names = connection.execute(sa.select(runs.c.name).order_by(runs.c.id)).scalars().all()
            known = ", ".join(names) if names else "none yet"
            raise UnknownRun(f"there is no run '{name}' in {redacted(db.url)}; existing runs: {known}")
    return _run(row)


def list_runs(db: Database) -> list[Run]:
    """All runs, oldest first."""
    with db.reading() as connection:
        return [_run(row) for row in connection.execute(sa.select(runs).order_by(runs.c.id))]


def load_network(db: Database, run: Run) -> Network:
    """The run's network."""
    with db.reading() as connection:
        node_rows = connection.execute(sa.select(nodes).where(nodes.c.run == run.number).order_by(nodes.c.node)).all()
        link_rows = connection.execute(sa.select(links).where(links.c.run == run.number)).all()
    n = len(node_rows)
    rate, failure = np.zeros((n, n)), np.zeros((n, n))
    for link in link_rows:
        rate[link.source, link.destination] = link.rate_bps
        failure[link.source, link.destination] = link.failure_rate
    columns = [
        np.array([getattr(row, key) for row in node_rows], dtype=float)
        for key in ("capacity_hz", "failure_rate", "arrival_probability")
    ]
    return Network(columns[0], columns[1], columns[2], rate, failure)


def _insert_network(connection: sa.Connection, run: int, network: Network) -> None:
    n = network.nodes
    connection.execute(
        sa.insert(nodes),
        [
            {
                "run": run,
                "node": i,
                "capacity_hz": float(network.capacity_hz[i]),
                "failure_rate": float(network.failure_rate[i]),
                "arrival_probability": float(network.arrival_probability[i]),
            }
            for i in range(n)
        ],
    )
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    if pairs:
        connection.execute(
            sa.insert(links),
            [
                {
                    "run": run,
                    "source": i,
                    "destination": j,
                    "rate_bps": float(network.rate_bps[i, j]),
                    "failure_rate": float(network.link_failure_rate[i, j]),
                }
                for i, j in pairs
            ],
        )


def _run(row: Row[Any]) -> Run:
    settings = resolve_settings([row.settings])
    return Run(row.id, row.uid, row.name, settings, row.services, row.versions, row.created_at)


def _differences(recorded: Mapping[str, Any], given: Mapping[str, Any], path: str = "") -> list[str]:
    lines = []
    for key in sorted({*recorded, *given}):
        old, new = recorded.get(key), given.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and key != "parameters":
            lines += _differences(old, new, f"{path}{key}.")
        elif old != new:
            lines.append(f"{path}{key}: {old!r} in the recorded run, {new!r} in these settings")
    return lines
