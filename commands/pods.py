"""How a pod's process begins and ends: its log, and one line with an exit code for what keeps it from working."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from commands.installation import require_own_packages

WRONG_START = 2
"""The exit code of a pod that cannot work as it was started: it would not the next time either."""
OVERTAKEN = 3
"""The exit code of a pod whose run is another process's by now: to start it again would be a struggle for the run."""
_MAY_WORK_NEXT_TIME = 1


def run_pod(program: str, load: Callable[[], Callable[[], None]]) -> None:
    """Run what `load` imports and returns, until it ends."""
    require_own_packages(program)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # a log on a full disk loses lines; a traceback for each would be lost as well
    work = load()
    from middleware.database import LeaseLost
    from middleware.errors import ServiceRefused, ServiceUnavailable
    from offload.errors import UserError

    try:
        work()
    except LeaseLost as lost:
        print(f"{program}: {lost}", file=sys.stderr)
        sys.exit(OVERTAKEN)
    except ServiceUnavailable as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(_MAY_WORK_NEXT_TIME)
    except (UserError, ServiceRefused) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(WRONG_START)
