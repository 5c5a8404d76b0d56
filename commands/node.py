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

    try:
        serve(os.environ)
    except (ValueError, LookupError, SchemaError) as error:
        print(f"offload-node: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
