"""Tests that the benchmark's SimPy model, which is written independently, has the same outcomes as the twin."""

import importlib
from pathlib import Path

import pytest


def test_simpy_and_the_twin_have_the_same_outcomes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    benchmark = importlib.import_module("twin_speed")
    found = benchmark.given_decisions(20, repeats=1)  # ends the process when an outcome differs
    assert found["simpy_decisions_per_s"] > 0
