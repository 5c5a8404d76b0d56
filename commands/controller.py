"""`offload-controller`: the entry point of the controller's pod, and of the controller of a local run."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from commands.installation import require_own_rooms


def main() -> None:
    """Run a controller; a wrong start ends with exit code 2 and one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="offload-controller", description=__doc__)
    parser.add_argument(
        "--fleet", choices=("none", "local"), default="none", help="start the edge nodes as processes here"
    )
    parser.add_argument("--serve", action="store_true", help="begin with continuous arrivals")
    chosen = parser.parse_args()
    require_own_rooms("offload-controller")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from commands.hot_keys import check_hot
    from controller.fleet import FleetError
    from controller.service import serve
    from middleware.database import SchemaError
    from middleware.outages import ServiceAway
    from middleware.patience import is_away

    try:
        # The composition root knows how a node is started; the controller may not import one.
        serve(os.environ, chosen.fleet, [sys.executable, "-m", "commands.node"], check_hot, chosen.serve)
    except (ValueError, LookupError, SchemaError) as error:
        print(f"offload-controller: {error}", file=sys.stderr)
        sys.exit(2)
    except FleetError as error:
        print(f"offload-controller: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not is_away(error):
            raise
        # Started again, it may find the service there. A driver's words may hold a password.
        print(
            f"offload-controller: a service is away: {error if isinstance(error, ServiceAway) else type(error).__name__}",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
