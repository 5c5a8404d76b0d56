"""Whether the rooms come from this installation: they have everyday names, which other distributions use as well."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_ROOMS = ("offload", "middleware", "edgenode", "controller", "evaluation", "trainer", "simulator")


def require_own_rooms(program: str) -> None:
    """End with exit code 2, saying where it came from, when a room would be imported from somewhere else."""
    here = Path(__file__).resolve().parent.parent
    for room in _ROOMS:
        spec = find_spec(room)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found is not None and found != here:
            print(
                f"{program}: the package '{room}' comes from {found}, not from {here}: another distribution or a folder of "
                "that name is in the way; install the testbed into an environment of its own",
                file=sys.stderr,
            )
            sys.exit(2)
