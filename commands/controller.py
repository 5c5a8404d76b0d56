"""`offload-controller`: the entry point of the controller's pod, and of the controller of a local run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

from commands.pods import run_pod


def main() -> None:
    """Run a controller; a wrong start ends with exit code 2 and one line that says what is wrong."""
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
    from controller.fleet import FleetError
    from controller.process import serve

    def work() -> None:
        try:
            # The composition root knows how a node is started; the controller may not import one.
            serve(os.environ, chosen.fleet, [sys.executable, "-m", "commands.node"], check_choice, chosen.serve)
        except FleetError as error:
            print(f"offload-controller: {error}", file=sys.stderr)
            sys.exit(1)

    return work


if __name__ == "__main__":
    main()
