"""Starts the `offload` command. Ctrl-C ends it without a traceback also while its modules are being imported."""

from __future__ import annotations

import sys

from commands.exit_codes import INTERRUPTED


def main() -> None:
    """Import and run the command."""
    try:
        from commands.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
