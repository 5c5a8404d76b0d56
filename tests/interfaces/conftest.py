"""Fixture of a testbed whose interfaces need a token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from credentials import TOKEN
from testbed import Testbed


@pytest.fixture(scope="session")
def guarded_testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Three nodes and a controller that need a token."""
    folder = tmp_path_factory.mktemp("guarded")
    with Testbed(folder, {}, environment={"OFFLOAD_TOKEN": TOKEN}) as testbed:
        yield testbed
