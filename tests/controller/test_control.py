"""Tests the controller's operations for clients: changes of the live settings, and the problems that they answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from stage import Stage

from controller.http.app import make_app
from middleware.database import record_model
from middleware.database.schema import configuration
from offload.manifest import ModelManifest
from offload.scheduler_choice import SchedulerChoice
from offload.settings import SettingsError


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_only_a_change_of_the_scheduler_ends_the_report_of_the_fallback(stage: Stage) -> None:
    """Every change did, also one of the log level, and one that was refused."""
    control = stage.control

    def reported() -> bool:
        gauge = "offload_fallback 1.0" in control.metrics().decode()
        assert gauge == (stage.fallback.reason(stage.configuration.read("stop")) is not None)
        return gauge

    control.change({"scheduler": {"name": "drl", "model": "gone"}}, "a client")
    assert stage.fallback.take_over("node 0 refuses: there is no model 'gone'")
    assert reported()
    control.change({"log_level": "DEBUG"}, "a client")
    assert reported()
    with pytest.raises(SettingsError):
        control.change({"log_level": "LOUD"}, "a client")
    assert reported()
    # The client chooses the scheduler that the fallback has set. It is the client's choice then.
    control.change({"scheduler.name": stage.run.settings.fallback_scheduler}, "a client")
    assert not reported()


def test_a_fallback_after_a_clients_change_stays_reported(stage: Stage) -> None:
    """The nodes may refuse the change before its request is answered."""
    written = stage.control.change({"scheduler": {"name": "drl", "model": "gone"}}, "a client")
    stage.fallback.take_over("node 0 refuses")
    stage.fallback.forget(written.revision)
    record = stage.configuration.read("stop")
    assert record is not None
    assert record.scheduler == SchedulerChoice(stage.run.settings.fallback_scheduler)
    assert stage.fallback.reason(record) == "node 0 refuses"


def test_a_database_that_refuses_a_request_is_no_defect_of_the_controller(stage: Stage) -> None:
    """The answer was 500, as for a defect, with a traceback in the log. Clients repeated the request."""
    with stage.database.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE models RENAME TO elsewhere")
    answer = make_app(stage.control).test_client().get("/v1/models")
    assert (answer.status_code, answer.json["title"]) == (424, "Service refused")
    assert answer.json["detail"].startswith("the database refuses the request")


def test_a_run_without_live_settings_is_not_ready(stage: Stage) -> None:
    """The answer was 500, as for a defect, with a traceback in the log; for a model it was 404."""
    client = make_app(stage.control).test_client()
    with stage.database.transaction() as connection:
        connection.execute(sa.delete(configuration))
    manifest = ModelManifest(version="m-1", algorithm="a", profile={}, actions=3, observation_size=1, files={})
    record_model(stage.database, stage.run, manifest, phase="online", method="m", number=1, statistics={})
    stage.lifecycle.begun = True
    plan = {"phase": "evaluate", "method": "local", "trace": 1, "scheduler": "local"}
    for answer in (
        client.patch("/v1/configuration", json={"live_settings": {"log_level": "DEBUG"}}),
        client.post("/v1/models/m-1/activate"),
        client.post("/v1/episodes", json=plan),
    ):
        assert (answer.status_code, answer.json["title"]) == (503, "Not ready"), answer.json
        assert "live settings of run 'stop'" in answer.json["detail"]
