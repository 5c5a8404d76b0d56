"""Tests a running testbed as a whole (`offload selftest`); `helm test` runs it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from commands.serve import RunName
from offload.errors import UserError

_RETRY_S = 0.5


class SelftestFailed(UserError):
    """A part of the running testbed does not work. The message says which."""


def selftest(
    run: RunName = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds within which an episode has to end.")
    ] = 120.0,
) -> None:
    """Check the services, that every node is alive, and that an episode of continuous arrivals ends complete."""
    from commands.serve import call_controller, find_controller
    from commands.services import check
    from offload.episodes import EpisodeStatus, Verdict

    check(None, None, None, False)
    address = find_controller(run, None)
    status = call_controller(address, "GET", "/v1/status")
    down = [str(node["node"]) for node in status["nodes"] if not node["alive"]]
    if down:
        raise SelftestFailed(f"nodes {', '.join(down)} are down")
    typer.echo(f"all {len(status['nodes'])} edge nodes of run {status['run']} are alive")
    until = time.monotonic() + timeout_s
    seen: set[int] = set()
    verdicts: list[str] = []
    while time.monotonic() < until:
        number = _playing(call_controller(address, "GET", "/v1/status"))
        if number is None or number in seen:
            time.sleep(_RETRY_S)
            continue
        left_s = max(0.0, min(5.0, until - time.monotonic()))
        episode = call_controller(address, "GET", f"/v1/episodes/{number}?wait_s={left_s:.1f}")
        if episode["status"] == EpisodeStatus.OPEN:
            time.sleep(_RETRY_S)  # the controller answers at once if too many clients are waiting already
            continue
        seen.add(number)
        if episode["verdict"] == Verdict.COMPLETE:
            if sum(episode["outcomes"].values()) != episode["tasks"]:
                raise SelftestFailed(f"episode {number}: {episode['tasks']} tasks, outcomes {episode['outcomes']}")
            typer.echo(
                f"episode {number} ended complete: {episode['successes']} of {episode['tasks']} tasks succeeded, "
                "each task has exactly one outcome"
            )
            return
        verdicts.append(f"episode {number}: {episode['verdict'] or episode['status']} ({episode['reason']})")
    trouble = status["trouble"] or "; ".join(verdicts) or "none was played"
    raise SelftestFailed(f"no episode ended complete within {timeout_s:g} s: {trouble}")


def _playing(status: dict[str, Any]) -> int | None:
    episode = status["episode"]
    return None if episode is None else int(episode["episode"])
