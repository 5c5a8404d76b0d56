"""Injects every fault many times, each time at another instant. Writes the table of the results (`make chaos`).

python tests/chaos/campaign.py --runs 20 --workers 2 [--fault NAME …] --results FILE.json --table PAGE.md --keep FOLDER

Concurrency: each worker is a process with its own servers. It plays one run after the other. The main process assigns
the runs, and writes the results after every run, so that an interrupted campaign keeps its results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from faults import FAULTS  # noqa: E402
from machine import machine  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from scene import Findings, Scene  # noqa: E402
from servers import Servers  # noqa: E402

_WORKER_S = 60.0
_NAMESPACE = "OFFLOAD_CHAOS_NAMESPACE"
"""Set if the campaign runs in its own network namespace."""
_BEGIN, _END = "<!-- chaos table -->", "<!-- end of chaos table -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign. Returns exit code 1 if a run did not survive its fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs of each fault")
    parser.add_argument("--workers", type=int, default=2, help="number of runs in parallel, each with its own servers")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in FAULTS], help="only this fault")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results/chaos.json")
    parser.add_argument("--go-on", action="store_true", help="skip runs that the results file already has")
    parser.add_argument("--table", type=Path, help="Markdown page whose table is replaced")
    parser.add_argument("--keep", type=Path, default=Path("runs/chaos"), help="folder for the logs of failed runs")
    chosen = parser.parse_args(arguments)
    if not os.environ.get(_NAMESPACE) and os.geteuid() == 0 and shutil.which("iptables"):
        # Faults of the network drop and redirect packets. They need a separate namespace, which ends with this process.
        again = shlex.join([sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments)])
        inside = ["sh", "-c", f"ip link set lo up && exec {again}"]
        os.execvpe("unshare", ["unshare", "--net", *inside], {**os.environ, _NAMESPACE: "yes"})
    possible = [fault.name for fault in FAULTS if os.environ.get(_NAMESPACE) or not fault.network]
    if len(possible) < len(FAULTS):
        print("network faults are left out: they need root and iptables")
    names = [name for name in chosen.fault or possible if name in possible]
    work = [(name, chosen.first_seed + number) for number in range(chosen.runs) for name in names]
    found: list[dict[str, Any]] = []
    if chosen.go_on and chosen.results.exists():
        found = json.loads(chosen.results.read_text())["runs"]
        done = {(one["fault"], one["seed"]) for one in found}
        work = [one for one in work if one not in done]
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as progress:
        bar = progress.add_task("runs", total=len(work))
        for one in _played(work, chosen.workers, chosen.keep):
            found.append(one)
            progress.advance(bar)
            result = "; ".join(one["problems"]) or "survived"
            progress.console.print(f"{one['fault']} {one['seed']}: {result}", style="red" if one["problems"] else "")
            _write(chosen.results, found, chosen.workers)
    if chosen.table:
        page = chosen.table.read_text()
        before, _, rest = page.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        chosen.table.write_text(f"{before}{_BEGIN}\n{table(found)}\n{_END}{after}")
    print(table(found))
    missing = len(names) * chosen.runs - len(found)
    if missing > 0:
        print(f"{missing} runs are missing: a worker process was killed")
    return 1 if missing > 0 or any(one["problems"] for one in found) else 0


def table(found: Sequence[dict[str, Any]]) -> str:
    """The injected faults and what survived, as a Markdown table."""
    lines = [
        "| injected | runs | survived | longest outage logged, s | episodes repeated | tasks lost "
        "| median run time, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for fault in FAULTS:
        runs = [one for one in found if one["fault"] == fault.name]
        if not runs:
            continue
        outages_s = [one["longest_outage_s"] for one in runs if one["longest_outage_s"] is not None]
        outage = f"{min(outages_s):.1f} to {max(outages_s):.1f} ({len(outages_s)})" if outages_s else "–"
        survived = sum(not one["problems"] for one in runs)
        lines.append(
            f"| {fault.description} | {len(runs)} | {survived} | {outage} | {sum(one['replayed'] for one in runs)} | "
            f"{sum(one['lost'] for one in runs)} | {median(one['wall_s'] for one in runs):.0f} |"
        )
    return "\n".join(lines)


def _write(file: Path, found: Sequence[dict[str, Any]], workers: int) -> None:
    facts = {"date": date.today().isoformat(), "workers": workers, "machine": machine("offload-testbed"), "runs": found}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=1) + "\n")


def _played(work: Sequence[tuple[str, int]], workers: int, keep: Path) -> Any:
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for one in work:
        todo.put(one)
    for _ in range(workers):
        todo.put(None)
    processes = [context.Process(target=_work, args=(todo, done, keep, place)) for place in range(workers)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for process in processes:
        process.start()
    alive = workers
    try:
        while alive:
            try:
                one = done.get(timeout=_WORKER_S)
            except queue.Empty:
                if any(process.is_alive() for process in processes):
                    continue
                break  # the worker was killed
            if one is None:
                alive -= 1
            else:
                yield one
    finally:
        for process in processes:
            process.join() if not alive else process.terminate()


def _work(todo: Any, done: Any, keep: Path, place: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped
    parent = multiprocessing.parent_process()
    faults = {fault.name: fault for fault in FAULTS}
    try:
        with tempfile.TemporaryDirectory() as folder, Servers(Path(folder), place) as servers:
            while (one := todo.get()) is not None and parent is not None and parent.is_alive():
                name, seed = one
                with tempfile.TemporaryDirectory() as workplace:
                    scene = Scene(servers, Path(workplace), seed)
                    try:
                        found = scene.play(faults[name])
                    except Exception:
                        message = f"the campaign itself failed: {traceback.format_exc(limit=-2)}"
                        found = Findings(name, seed, problems=[message])
                        servers.restore()
                    if found.problems:
                        scene.keep_logs(keep / f"{name}-{seed}")
                    done.put(found.to_json())
    finally:
        done.put(None)


if __name__ == "__main__":
    sys.exit(main())
