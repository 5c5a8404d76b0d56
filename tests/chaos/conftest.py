"""The servers of the short version: one set for the whole session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import SCRIPTS, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real servers that may be hurt."""
    if not os.environ.get(SCRIPTS):
        pytest.skip(f"{SCRIPTS} is not set: no servers that may be stopped and killed")
    # Not below pytest's own folder, which other users cannot enter: MariaDB has a user of its own.
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as started:
        yield started
