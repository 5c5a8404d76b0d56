"""Tests applications: an execution takes cycles/F, and `cpu` really computes."""

import importlib.metadata
import threading
import time

import pytest

from edgenode import applications
from edgenode.applications import create_application


def test_an_unknown_application_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"node\.application.*'gpu'.*cpu, emulated"):
        create_application("gpu")


def test_broken_application_is_refused_with_package_and_reason(monkeypatch, tmp_path):
    (tmp_path / "broken_application.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("gpu", "broken_application:GPU", applications.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    with pytest.raises(ValueError, match=r"node\.application.*'gpu' \(broken_application:GPU\).*SyntaxError"):
        create_application("gpu")


def test_emulated_waits_for_the_planned_end_and_nothing_else():
    asked = []
    create_application("emulated").execute(1e9, 3600.0, asked.append)
    assert asked == [1.0]


def test_cpu_computes_until_the_planned_end_and_not_longer():
    planned_end = threading.Event()
    began, before = time.monotonic(), time.process_time()

    def wait_until(share):
        assert share == 1.0
        planned_end.wait(0.3)

    create_application("cpu").execute(1e9, 3600.0, wait_until)
    elapsed, burnt = time.monotonic() - began, time.process_time() - before
    assert elapsed >= 0.3
    assert burnt > 0.02  # on a busy machine it gets only a part of a core


def test_cpu_returns_at_once_when_the_planned_end_has_passed():
    """Otherwise every task of a busy executor would delay the next one further."""
    create_application("cpu").execute(1e9, 3600.0, lambda share: None)


def test_cpu_lets_the_other_threads_of_its_node_work():
    stop, ticks = threading.Event(), []

    def ticking():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.005)

    other = threading.Thread(target=ticking)
    other.start()
    create_application("cpu").execute(1e9, 3600.0, lambda share: time.sleep(0.5))
    stop.set()
    other.join()
    assert len(ticks) > 5
