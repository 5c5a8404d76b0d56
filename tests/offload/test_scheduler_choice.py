"""If these fail, the controller writes revisions that change nothing, or a damaged record decides in the nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from controller.interface import EpisodeRequest
from middleware.http.problems import HTTPProblem, parsed
from offload import resolve_settings
from offload.episodes import EpisodePhase, EpisodePlan
from offload.scheduler_choice import SchedulerChoice

SED = {"name": "sed", "parameters": {"d": 3}, "model": None}


def test_a_choice_comes_back_as_it_was_written() -> None:
    for choice in (SchedulerChoice("sed", {"d": 3}), SchedulerChoice("drl", {}, "other/v1")):
        assert SchedulerChoice.from_json(choice.to_json()) == choice
    assert SchedulerChoice.from_json(SED).to_json() == SED


def test_the_settings_choose_what_their_section_says() -> None:
    settings = resolve_settings([{"scheduler": {"name": "drl", "parameters": {"temperature": 2}, "model": "v1"}}])
    assert settings.scheduler.choice == SchedulerChoice("drl", {"temperature": 2}, "v1")
    assert settings.live()["scheduler"] == settings.scheduler.model_dump(mode="json")
    assert settings.without_model("drl") == SchedulerChoice("drl", {"temperature": 2})
    assert settings.without_model("ratc") == SchedulerChoice("ratc")


def test_equal_choices_are_one_key() -> None:
    """An episode that was played would be played again, or one with other parameters be taken for it."""
    plan = EpisodePlan(EpisodePhase.EVALUATE, "sed", 1, SchedulerChoice("sed", {"d": 3, "e": 1}))
    same = EpisodePlan(EpisodePhase.EVALUATE, "sed", 1, SchedulerChoice("sed", {"e": 1.0, "d": 3}))
    other = EpisodePlan(EpisodePhase.EVALUATE, "sed", 1, SchedulerChoice("sed", {"d": 2, "e": 1}))
    assert {plan: 1}.get(same) == 1
    assert other not in {plan}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("sed", "scheduler: 'sed' is not an object"),
        ({"name": "sed", "parameters": {}}, "scheduler.model: is missing"),
        ({**SED, "modell": None}, "scheduler.modell: unknown key"),
        ({**SED, "name": ""}, "scheduler.name: '' is not a name"),
        ({**SED, "model": 3}, "scheduler.model: 3 is not a name"),
        ({**SED, "parameters": [3]}, "scheduler.parameters: "),
        ({**SED, "parameters": {"d": None}}, "scheduler.parameters.d: "),
    ],
)
def test_malformed_choice_is_rejected_with_its_place(data: Any, expected: str) -> None:
    with pytest.raises(ValueError) as refused:
        SchedulerChoice.from_json(data)
    assert str(refused.value).startswith(expected)


def test_the_controller_takes_every_phase() -> None:
    for phase in EpisodePhase:
        request = {"phase": phase.value, "method": "sed", "trace": 3, "scheduler": "sed"}
        assert EpisodeRequest.model_validate_json(json.dumps(request)).phase is phase
    with pytest.raises(ValidationError, match=r"phase\n.*'collect', 'checkpoint'"):
        EpisodeRequest.model_validate_json('{"phase": "play", "method": "sed", "trace": 3, "scheduler": "sed"}')


def test_an_unknown_phase_is_refused_with_all_phases() -> None:
    request = {"phase": "evaluation", "method": "sed", "trace": 3, "scheduler": "sed"}
    with pytest.raises(HTTPProblem) as refused:
        parsed(EpisodeRequest, json.dumps(request).encode())
    assert "phase: 'evaluation' is not 'collect' or 'checkpoint' or 'online'" in str(refused.value.detail)
