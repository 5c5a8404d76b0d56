"""Starts the servers of the short chaos tests, once per session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import SCRIPTS, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real servers in which tests may inject faults."""
    if not os.environ.get(SCRIPTS):
        pytest.skip(f"{SCRIPTS} is not set: no servers that may be stopped and killed")
    # Not in pytest's folder, which other users cannot enter: MariaDB runs as a separate user.
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as started:
        yield started
