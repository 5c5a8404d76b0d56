"""How a pod's process begins and ends: its log, and one line with an exit code for what keeps it from working."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from commands.installation import require_own_rooms

WRONG_START = 2
"""The exit code of a pod that cannot work as it was started: it would not the next time either."""
OVERTAKEN = 3
"""The exit code of a pod whose run is another process's by now: to start it again would be a struggle for the run."""
_MAY_WORK_NEXT_TIME = 1


def run_pod(program: str, load: Callable[[], Callable[[], None]]) -> None:
    """Run what `load` imports and returns, until it ends."""
    require_own_rooms(program)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    work = load()
    from middleware.database import LeaseLost, SchemaError
    from middleware.outages import ServiceAway
    from middleware.patience import is_away

    try:
        work()
    except (ValueError, LookupError, SchemaError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(WRONG_START)
    except LeaseLost as lost:
        print(f"{program}: {lost}", file=sys.stderr)
        sys.exit(OVERTAKEN)
    except Exception as error:
        if not is_away(error):
            raise
        # A driver's words may hold a password.
        why = error if isinstance(error, ServiceAway) else type(error).__name__
        print(f"{program}: a service is away: {why}", file=sys.stderr)
        sys.exit(_MAY_WORK_NEXT_TIME)
