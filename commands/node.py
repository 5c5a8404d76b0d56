"""Starts an edge node (`offload-node`): in a pod, or for a local run. Environment variables configure it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from commands.pods import run_pod


def main() -> None:
    """Run a node. If it cannot start, print one line that says why, and exit with code 2."""
    run_pod("offload-node", _load)


def _load() -> Callable[[], None]:
    from edgenode.process import serve

    return partial(serve, os.environ)


if __name__ == "__main__":
    main()
