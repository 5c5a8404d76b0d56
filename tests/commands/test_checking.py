"""Tests that a wrong name in the settings is reported before a run begins, and not after hours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from in_process import Offload, offload  # noqa: F401

from commands.checking import check_choice, check_settings
from offload.scheduler_choice import SchedulerChoice
from offload.settings import SettingsError, resolve_settings

COMMANDS = {
    "config check": ("config", "check", "x.yaml"),
    "run": ("run", "--config", "x.yaml"),
    "run --twin": ("run", "--twin", "--config", "x.yaml"),
    "run --attach": ("run", "--attach", "--config", "x.yaml"),
    "serve": ("serve", "--config", "x.yaml"),
    "simulate": ("simulate", "--scheduler", "sed", "--config", "x.yaml"),
    "prepare": ("prepare", "--run", "r", "--config", "x.yaml"),
}
WRONG = [
    (
        "evaluation: {methods: [local, sedd]}",
        "evaluation.methods: unknown scheduler 'sedd', did you mean sed? Available: ",
    ),
    (
        "evaluation: {methods: [ratc, drl]}",
        "evaluation.methods: 'drl' needs a model, and there is none for this key; write offline-only, online-",
    ),
    ("evaluation: {methods: [ratc, ratc]}", "evaluation.methods: 'ratc' is listed twice"),
    ("evaluation: {methods: [o2o_drl]}", "unknown scheduler 'o2o_drl', did you mean o2o-drl?"),
    ("offline: {heuristic: rattc}", "offline.heuristic: unknown scheduler 'rattc', did you mean ratc?"),
    ("offline: {heuristic: drl-probe}", "offline.heuristic: 'drl-probe' needs a model, and there is none for this key"),
    (
        "offline: {algorithm: sac_cql}",
        "offline.algorithm: unknown algorithm 'sac_cql', did you mean sac-cql? Available: ",
    ),
    ("online: {algorithm: sac-cql}", "online.algorithm: 'sac-cql' trains offline; it can be offline.algorithm"),
    ("online: {parameters: {clip: 0.1}}", "online.parameters.clip: 'ppo' has no such parameter; write online.clip"),
    ("fallback_scheduler: drl", "fallback_scheduler: 'drl' needs a model, and there is none for this key"),
    ("fallback_scheduler: rcta", "fallback_scheduler: unknown scheduler 'rcta', did you mean ratc?"),
    ("scheduler: {name: off}", "scheduler.name: unknown scheduler 'off'; available: drl, "),
    (
        "scheduler: {name: drl}",
        "scheduler.model: 'drl' needs a model; write VERSION for a model of this run, or RUN/VERSION",
    ),
    (
        "scheduler: {name: sed, parameters: {dd: 3}}",
        "scheduler.parameters.dd: 'sed' has no such parameter, did you mean d? Parameters: d",
    ),
    ("scheduler: {name: sed, parameters: {d: two}}", "scheduler.parameters.d: 'two' is not a whole number"),
    ("scheduler: {name: sed, parameters: {d: 0}}", "scheduler.parameters.d: 0"),
    ("node: {profile: papr}", "node.profile: unknown profile 'papr', did you mean paper?"),
    ("node: {application: cppu}", "node.application: unknown application 'cppu', did you mean cpu?"),
    ("learner: {device: gpu}", "learner.device: 'gpu' is not a device; write auto, cpu, mps, cuda, or cuda:0"),
    ("services: {storage: 'hdfs+http://h:port/x'}", "services.storage: 'hdfs+http://h:port/x': 'port' is not a port"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("written", "expected"), WRONG)
def test_every_command_rejects_mistakes_before_it_starts(
    offload: Offload,  # noqa: F811
    tmp_path: Path,
    command: str,
    written: str,
    expected: str,
) -> None:
    (tmp_path / "x.yaml").write_text(written)
    ended = offload(*COMMANDS[command])
    assert ended.code == 2
    assert expected in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"], "something was begun"


def test_all_problems_of_the_settings_are_reported_together(offload: Offload, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "x.yaml").write_text(
        "evaluation: {methods: [sedd, drl]}\noffline: {heuristic: rattc}\nnode: {profile: papr, application: cppu}\n"
        "scheduler: {name: sed, parameters: {dd: 1, d: x}}\n"
    )
    keys = [
        line.removeprefix("offload: ").partition(":")[0]
        for line in offload("run", "--config", "x.yaml").err.splitlines()
    ]
    assert keys == [
        "scheduler.parameters.dd", "scheduler.parameters.d", "offline.heuristic", "node.profile", "node.application",
        "evaluation.methods", "evaluation.methods",
    ]  # fmt: skip


def test_a_device_that_this_machine_lacks_is_refused_where_it_would_train(
    offload: Offload,  # noqa: F811
    tmp_path: Path,
) -> None:
    import torch

    here = torch.cuda.device_count()
    (tmp_path / "x.yaml").write_text(f"learner: {{device: 'cuda:{here}'}}")
    assert offload("config", "check", "x.yaml").code == 0, "the machine that trains may be another one"
    for options in ((), ("--twin",), ("--attach",)):
        ended = offload("run", "--config", "x.yaml", *options)
        assert ended.code == 2
        assert f"learner.device: cuda:{here}, but torch finds " in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_run_rejects_a_data_set_that_is_not_on_its_machine(
    offload: Offload,  # noqa: F811
    tmp_path: Path,
) -> None:
    pytest.importorskip("minari")
    ended = offload("run", "--preset", "demo", "--set", "offline.dataset=none/such-v0", "--twin")
    assert ended.code == 2
    assert "there is no data set 'none/such-v0' here" in ended.err
    assert not any(tmp_path.iterdir())


def test_it_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart's Job checks settings in an image without torch."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "trainer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    check_settings(resolve_settings([]))


def test_callers_from_python_get_the_same_error() -> None:
    from edgenode.applications import create_application
    from edgenode.schedulers import create_scheduler
    from offload.conformance import example_context
    from offload.profiles import make_profile

    with pytest.raises(SettingsError, match=r"node\.profile: unknown profile 'papr'"):
        make_profile(resolve_settings([{"node": {"profile": "papr"}}]))
    with pytest.raises(SettingsError, match=r"node\.application: unknown application 'cppu'"):
        create_application("cppu")
    with pytest.raises(SettingsError, match=r"scheduler\.name: unknown scheduler 'sedd'"):
        create_scheduler("sedd", {}, example_context(3))
    with pytest.raises(SettingsError, match=r"evaluation\.methods: unknown scheduler"):
        check_settings(resolve_settings([{"evaluation": {"methods": ["sedd"]}}]))


def test_a_choice_is_checked_against_its_run() -> None:
    settings = resolve_settings([])
    check_choice(settings, SchedulerChoice("drl", model="offline"))
    with pytest.raises(SettingsError, match=r"scheduler\.model: 'drl' needs a model"):
        check_choice(settings, SchedulerChoice("drl"))
