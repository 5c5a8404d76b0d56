"""Starts a controller (`offload-controller`): in a pod, or for a local run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

from commands.pods import run_pod


def main() -> None:
    """Run a controller. If it cannot start, print one line that says why, and exit with code 2."""
    parser = argparse.ArgumentParser(prog="offload-controller", description=__doc__)
    parser.add_argument(
        "--fleet",
        choices=("none", "local", "kubernetes"),
        default="none",
        help="local: start the edge nodes as processes here; kubernetes: watch their pods",
    )
    parser.add_argument("--serve", action="store_true", help="begin with continuous arrivals")
    run_pod("offload-controller", partial(_load, parser.parse_args()))


def _load(chosen: argparse.Namespace) -> Callable[[], None]:
    from commands.checking import check_choice
    from controller.closing import ClosingError
    from controller.fleet import FleetError
    from controller.process import serve

    def work() -> None:
        try:
            # The command that starts a node is passed in, because the controller may not import `edgenode`.
            serve(os.environ, chosen.fleet, [sys.executable, "-m", "commands.node"], check_choice, chosen.serve)
        except (FleetError, ClosingError) as error:
            print(f"offload-controller: {error}", file=sys.stderr)
            sys.exit(1)

    return work


if __name__ == "__main__":
    main()
