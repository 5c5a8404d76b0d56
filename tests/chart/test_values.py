"""Tests that the chart's values, their schema and their reference come from one model."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("chart_values", ROOT / "helm" / "values.py")
chart_values = importlib.util.module_from_spec(_spec)
sys.modules["chart_values"] = chart_values  # pydantic looks up annotations there
_spec.loader.exec_module(chart_values)


def test_schema_and_reference_are_current():
    assert json.loads(chart_values.SCHEMA.read_text()) == chart_values.schema(), "run `python helm/values.py`"
    assert chart_values.REFERENCE.read_text() == chart_values.reference(), "run `python helm/values.py`"


def test_the_defaults_are_those_of_the_model():
    values = yaml.safe_load((chart_values.CHART / "values.yaml").read_text())
    del values["settings"]
    assert values == chart_values.defaults()


def test_nothing_unknown_is_allowed_anywhere():
    def check(node, path):
        if isinstance(node, dict):
            if "properties" in node:
                assert node.get("additionalProperties") is False, path
            for key, value in node.items():
                check(value, f"{path}.{key}")

    check(chart_values.schema(), "values")


def test_chart_and_program_have_one_version():
    import importlib.metadata

    chart = yaml.safe_load((chart_values.CHART / "Chart.yaml").read_text())
    version = importlib.metadata.version("offload-testbed")
    assert chart["version"] == chart["appVersion"] == version


@pytest.mark.parametrize("name", ["settings", "mysql", "monitoring"])
def test_every_value_says_what_it_means(name):
    assert chart_values.schema()["properties"][name]["properties"]
