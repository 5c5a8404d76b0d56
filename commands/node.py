"""`offload-node`: the entry point of an edge node's pod. Everything it needs to know is in its environment."""

from __future__ import annotations

import logging
import os
import sys

from commands.installation import require_own_rooms


def main() -> None:
    """Run a node; a wrong start ends with exit code 2 and one line that says what is wrong."""
    require_own_rooms("offload-node")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from edgenode.service import serve
    from middleware.database import SchemaError
    from middleware.outages import ServiceAway
    from middleware.patience import is_away

    try:
        serve(os.environ)
    except (ValueError, LookupError, SchemaError) as error:
        print(f"offload-node: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if not is_away(error):
            raise
        # Started again, it may find the service there. A driver's words may hold a password.
        print(
            f"offload-node: a service is away: {error if isinstance(error, ServiceAway) else type(error).__name__}",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
