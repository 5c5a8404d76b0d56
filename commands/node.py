"""`offload-node`: the entry point of an edge node's pod. Everything it needs to know is in its environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from commands.pods import run_pod


def main() -> None:
    """Run a node; a wrong start ends with exit code 2 and one line that says what is wrong."""
    run_pod("offload-node", _load)


def _load() -> Callable[[], None]:
    from edgenode.process import serve

    return partial(serve, os.environ)


if __name__ == "__main__":
    main()
