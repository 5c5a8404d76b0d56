"""Runs a pod's process: sets up its log, and prints one line and an exit code for an error that prevents its work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from commands.installation import require_own_packages

WRONG_START = 2
"""The exit code of a pod with wrong settings or permissions: a restart would fail again."""
OVERTAKEN = 3
"""The exit code of a pod whose run another process controls now: a restart would compete with that process."""
_MAY_WORK_NEXT_TIME = 1


def run_pod(program: str, load: Callable[[], Callable[[], None]]) -> None:
    """Run the function that `load` returns, until it ends. `load` imports slow modules."""
    require_own_packages(program)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # on a full disk, do not write a traceback for each lost line
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
