"""Checks that the testbed's packages come from this installation.

Their names are common words, which other distributions may use as well.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("offload", "middleware", "edgenode", "controller", "evaluation", "trainer", "simulator")


def require_own_packages(program: str) -> None:
    """Exit with code 2 if a package would be imported from another place. The message names the package and place."""
    here = Path(__file__).resolve().parent.parent
    for package in _PACKAGES:
        spec = find_spec(package)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found is not None and found != here:
            print(
                f"{program}: the package '{package}' comes from {found}, not from {here}: another distribution or a "
                "folder has the same name; install the testbed into an environment of its own",
                file=sys.stderr,
            )
            sys.exit(2)
