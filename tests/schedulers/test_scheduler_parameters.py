"""Tests that wrong parameters of schedulers are rejected, with what would be right."""

import importlib.metadata
import sys
import types
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from edgenode import schedulers
from edgenode.schedulers import create_scheduler, describe, scheduler_names
from offload import SchedulerContext
from offload.conformance import example_context


def refusal(name, parameters):
    with pytest.raises(ValueError) as refused:
        create_scheduler(name, parameters, example_context(3))
    return str(refused.value)


def test_an_unknown_scheduler_is_refused_with_those_there_are():
    message = refusal("ractc", {})
    assert "scheduler.name" in message
    assert "'ractc'" in message
    assert all(name in message for name in scheduler_names())


@pytest.mark.parametrize(
    ("name", "parameters", "parts"),
    [
        ("sed", {"probes": 3}, ["scheduler.parameters.probes", "'sed'", "parameters: d"]),
        ("ratc", {"d": 3}, ["scheduler.parameters.d", "parameters: none"]),
        ("local", {"context": 3}, ["scheduler.parameters.context"]),
        ("rda", {"enough_reports": 3}, ["enough_reports", "per_capacity_hz, threshold_tasks"]),
        ("sed", {"d": "two"}, ["scheduler.parameters.d", "'two'", "a whole number"]),
        ("sed", {"d": 2.5}, ["scheduler.parameters.d", "2.5", "a whole number"]),
        ("sed", {"d": True}, ["scheduler.parameters.d", "true", "a whole number"]),
        ("sed", {"d": 0}, ["scheduler.parameters.d", "0", "at least 1"]),
        ("drl-probe", {"d": -1}, ["scheduler.parameters.d", "-1", "at least 1"]),
        ("rda-tuned", {"threshold_s": "0.5 s"}, ["scheduler.parameters.threshold_s", "'0.5 s'", "a number"]),
        ("rda-tuned", {"threshold_s": True}, ["scheduler.parameters.threshold_s", "true", "a number"]),
        ("rda-tuned", {"threshold_s": -1}, ["scheduler.parameters.threshold_s", "-1", "at least 0"]),
        ("rda-tuned", {"threshold_s": float("nan")}, ["scheduler.parameters.threshold_s", "nan"]),
        ("rda", {"threshold_tasks": -0.5}, ["scheduler.parameters.threshold_tasks", "-0.5"]),
        ("rda", {"per_capacity_hz": 0}, ["scheduler.parameters.per_capacity_hz", "above 0"]),
    ],
)
def test_wrong_parameter_is_refused_with_name_and_remedy(name, parameters, parts):
    message = refusal(name, parameters)
    for part in parts:
        assert part in message


def test_a_whole_number_will_do_for_a_number():
    assert create_scheduler("rda-tuned", {"threshold_s": 1}, example_context(3)).threshold_s == 1


def test_a_number_without_a_fraction_will_do_for_a_whole_number():
    """A settings file may have `1e1`, and Helm writes every number in this form."""
    made = create_scheduler("sed", {"d": 1e1}, example_context(3))
    assert (made.d, type(made.d)) == (10, int)


def test_parameters_change_the_decision():
    assert create_scheduler("sed", {"d": 1}, example_context(3)).d == 1


def test_description_has_a_line_per_scheduler_with_parameters():
    described = {one.name: one for one in describe()}
    assert list(described) == scheduler_names()
    assert all(one.summary and "\n" not in one.summary for one in described.values())
    assert described["sed"].parameters == {"d": 2}
    assert described["rda"].parameters == {"threshold_tasks": 3.0, "per_capacity_hz": 12e9}
    assert described["rda-tuned"].parameters == {"threshold_s": 0.5}


# --- schedulers of other packages ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Modal:
    """A scheduler of another package, with every kind of parameter."""

    context: SchedulerContext
    mode: Literal["fast", "safe"] = "fast"
    limit_s: float | None = None
    eager: bool = False

    enough_reports: ClassVar[int | None] = None


@dataclass(frozen=True)
class NoDefault:
    """It cannot be created from configuration alone."""

    context: SchedulerContext
    d: int


@dataclass(frozen=True)
class NoContext:
    """Has a parameter where the context should be."""

    d: int = 2


class Plain:
    """Not a dataclass."""


@dataclass
class Melted:
    """Could keep state between calls."""

    context: SchedulerContext


@pytest.fixture
def registered(monkeypatch):
    """Registers classes as another package would."""
    foreign = types.ModuleType("foreign_schedulers")
    monkeypatch.setitem(sys.modules, "foreign_schedulers", foreign)
    entries = list(importlib.metadata.entry_points(group=schedulers.GROUP))

    def register(name, made=None, attribute=None):
        attribute = attribute or made.__name__
        if made is not None:
            setattr(foreign, attribute, made)
        entries.append(importlib.metadata.EntryPoint(name, f"foreign_schedulers:{attribute}", schedulers.GROUP))

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries if group == schedulers.GROUP else [])
    return register


def test_choices_options_and_flags_are_checked_too(registered):
    registered("modal", Modal)
    made = create_scheduler("modal", {"mode": "safe", "limit_s": 3, "eager": True}, example_context(3))
    assert (made.mode, made.limit_s, made.eager) == ("safe", 3, True)
    assert create_scheduler("modal", {"limit_s": None}, example_context(3)).limit_s is None
    assert "one of 'fast', 'safe'" in refusal("modal", {"mode": "slow"})
    assert "a number or nothing" in refusal("modal", {"limit_s": "much"})
    assert "true or false" in refusal("modal", {"eager": 1})


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (NoDefault, "has a parameter 'd' without a default"),
        (NoContext, "has no field 'context' in the first place"),
        (Plain, "is not a dataclass"),
        (Melted, "is not a frozen dataclass"),
    ],
)
def test_object_that_is_not_a_scheduler_is_refused(registered, made, part):
    registered("foreign", made)
    message = refusal("foreign", {})
    assert part in message
    assert "foreign_schedulers:" in message


def test_broken_package_does_not_hide_other_schedulers(registered):
    registered("broken", attribute="Missing")
    assert "'broken' (foreign_schedulers:Missing) cannot be loaded" in refusal("broken", {})
    described = {one.name: one.summary for one in describe()}
    assert "cannot be loaded" in described["broken"]
    assert "lowest estimated delay" in described["sed"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import not_there", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
        ("undefined_name", "NameError"),
        ("1 + 'a'", "TypeError"),
        ("raise ValueError('no licence')", "ValueError: no licence"),
    ],
)
def test_any_import_error_is_a_refusal_with_the_package(monkeypatch, tmp_path, content, reason):
    """An exception other than ValueError would end `offload schedulers`, and a node that changes its scheduler."""
    module = f"broken_{reason.split(':')[0].lower()}"
    (tmp_path / f"{module}.py").write_text(content + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    entries = list(importlib.metadata.entry_points(group=schedulers.GROUP))
    entries.append(importlib.metadata.EntryPoint("broken", f"{module}:Missing", schedulers.GROUP))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    message = refusal("broken", {})
    assert f"'broken' ({module}:Missing) cannot be loaded: {reason}" in message
    described = {one.name: one.summary for one in describe()}
    assert described["broken"] == message
    assert "lowest estimated delay" in described["sed"]


def test_two_packages_with_the_same_name_are_refused_with_both(registered):
    registered("sed", Modal)
    message = refusal("sed", {})
    assert "foreign_schedulers:Modal" in message
    assert "edgenode.schedulers.shortest_delay:SED" in message
