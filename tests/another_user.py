"""Runs commands as another user without rights, for tests that root runs: root may read and write everything."""

from __future__ import annotations

import os
import shutil

import pytest

OTHER = 65534
_AS_ANOTHER = (
    "setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def as_another_user() -> tuple[str, ...]:
    """The prefix of a command that is to run as another user; empty if the tests are not run by root."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed: root cannot become another user")
    return _AS_ANOTHER
