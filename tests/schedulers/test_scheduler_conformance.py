"""Tests that all schedulers conform: the same decisions in a node and in a simulator, and in a replay."""

import pytest

from edgenode.schedulers import create_scheduler, scheduler_names
from offload.conformance import check_scheduler

OTHER_PARAMETERS = {
    "sed": [{"d": 1}, {"d": 5}, {"d": 1000}],
    "sed-reserve": [{"d": 1000}, {"pending": False}, {"reservations": False}, {"confirm": True}],
    "scorer": [{"d": 1}, {"d": 1000}, {"confirm": False}, {"reservations": False}, {"exploration": 0.3}],
    "drl-probe": [{"d": 1}, {"d": 5}, {"d": 1000}],
    "rda": [{"threshold_tasks": 0.0}, {"threshold_tasks": 1e9}],
    "rda-tuned": [{"threshold_s": 0}, {"threshold_s": 1e9}],
}


@pytest.mark.parametrize("name", scheduler_names())
def test_every_registered_scheduler_conforms(name):
    for parameters in [{}, *OTHER_PARAMETERS.get(name, [])]:
        check_scheduler(lambda context, parameters=parameters: create_scheduler(name, parameters, context))


def test_all_that_the_design_names_are_registered():
    ours = {"random", "local", "weighted", "ratc", "rda", "rda-tuned", "sed", "sed-reserve", "scorer"}
    ours |= {"drl", "drl-probe"}
    assert ours <= set(scheduler_names())
