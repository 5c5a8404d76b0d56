"""Computes cells with Dask, and keeps each finished one in a folder.

A cell that is in the folder is not computed again. So a client, a worker or the Dask scheduler that dies costs only the
cells that were running. Dask gives the cells of a dead worker to another one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cells import Cell, compute
from offload.errors import UserError

if TYPE_CHECKING:
    from distributed import Client


class IncompleteError(UserError):
    """Cells were not computed."""


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[Client]:
    """A Dask client: of the scheduler at `address` (`tcp://host:port`), or of processes on this machine.

    workers: processes on this machine; None for one for each core
    Raises OSError when no scheduler answers.
    """
    from distributed import Client, LocalCluster

    if address is not None:
        with Client(address, timeout="10s", set_as_default=False) as client:
            yield client
        return
    count = workers or os.cpu_count() or 1
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
        ) as here,
        Client(here, set_as_default=False) as client,
    ):
        yield client


def stored(cells: Sequence[Cell], folder: Path) -> dict[Cell, dict[str, Any]]:
    """The results of the cells that are in the folder."""
    results = {cell: _read(cell, folder) for cell in cells}
    return {cell: result for cell, result in results.items() if result is not None}


def computed(
    cells: Sequence[Cell], folder: Path, client: Client, finished: Callable[[Cell], None]
) -> dict[Cell, dict[str, Any]]:
    """Compute cells, and store their results in the folder. finished: called for each result

    Raises what a cell raised, after the cells that are running have been stored. Raises IncompleteError when the Dask
    scheduler is lost.
    """
    from distributed import as_completed

    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Cell, dict[str, Any]] = {}
    futures = {client.submit(compute, cell, key=cell.name, pure=True): cell for cell in cells}
    failure: BaseException | None = None
    for future in as_completed(list(futures), loop=client.loop):
        cell = futures[future]
        if future.status == "finished":
            found[cell] = future.result()
            _write(folder / f"{cell.name}.json", cell, found[cell])
            finished(cell)
        elif failure is None and future.status == "error":
            failure = future.exception()
            running = {key for keys in client.processing().values() for key in keys}
            client.cancel([one for one in futures if one.status == "pending" and one.key not in running])
    if failure is not None:
        raise failure
    if len(found) < len(cells):
        raise IncompleteError(
            f"the Dask scheduler was lost: {len(cells) - len(found)} of {len(cells)} cells were not computed; "
            "run the same command again to resume"
        )
    return found


def _read(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """A cell's stored result; None if there is none, or the file is damaged or another cell's."""
    try:
        content = json.loads((folder / f"{cell.name}.json").read_text())
        if Cell(**content["cell"]).name != cell.name or not _is_result(content["result"]):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    result: dict[str, Any] = content["result"]
    return result


def _is_result(found: Any) -> bool:
    """Whether data has the form of what `compute` returns."""
    rates = [*found["rates"].values(), found["online"]] if isinstance(found["rates"], dict) else [None]
    numbers = [rate for one in rates if isinstance(one, list) for rate in one if rate is not None]
    return (
        len(rates) > 1
        and all(isinstance(one, list) for one in rates)
        and all(isinstance(rate, int | float) and 0 <= rate <= 1 for rate in numbers)
        and isinstance(found["seconds"], int | float)
    )


def _write(path: Path, cell: Cell, result: dict[str, Any]) -> None:
    """Write a result. A file of this name is complete: it gets its name last."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(json.dumps({"cell": asdict(cell), "result": result}, allow_nan=False))
    unfinished.replace(path)
