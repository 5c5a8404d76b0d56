"""Tests that choosing an adapter whose package is not installed gives a message with the extra to install."""

from __future__ import annotations

import pytest

from middleware import extras
from middleware.configuration import open_configuration
from middleware.registry import open_registry
from middleware.storage import open_storage


@pytest.mark.parametrize(
    ("choose", "setting", "extra"),
    [
        (lambda: open_storage("hdfs+http://name:9870/x", None), "storage", "hdfs"),
        (lambda: open_registry("nacos://name:8848", None), "registry", "nacos"),
        (lambda: open_configuration("nacos://name:8848", None), "configuration", "nacos"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, choose, setting, extra) -> None:
    choose()
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"services\.{setting}: .*pip install -e '\.\[{extra}\]'"):
        choose()
