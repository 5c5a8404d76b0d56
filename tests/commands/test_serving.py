"""Tests `offload serve`, with `status` and `set` from another terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Workplace, kill, running, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    made = Workplace(tmp_path)
    yield made
    wait_until(lambda: made.processes() == [], 30)


def rate_of_last_episodes(workplace: Workplace) -> str:
    """The line of `offload status` with the success rate; empty while there is no controller."""
    lines = [line for line in workplace.run("status").stdout.splitlines() if line.startswith("Success rate")]
    return lines[0] if lines else ""


def test_a_served_fleet_is_watched_changed_and_ended(workplace: Workplace):
    with running(workplace, "serve", "--config", "small.yaml") as process:
        wait_until(lambda: "(ratc)" in rate_of_last_episodes(workplace))
        done = workplace.run("set", "scheduler.name=rda")
        assert (done.returncode, done.stdout.strip()) == (0, "revision 2 is applied on all 3 nodes")
        wait_until(lambda: "rda" in rate_of_last_episodes(workplace))
        works = workplace.run("selftest")
        assert works.returncode == 0, works.stdout
        assert "all 3 edge nodes" in works.stdout and "ended complete" in works.stdout
        refused = workplace.run("set", "scheduler.name=rtac")
        assert refused.returncode == 2
        assert "unknown scheduler 'rtac'" in refused.stdout
        assert "scheduler rda, revision 2" in workplace.run("status").stdout
        # Nodes reject a model that does not exist, and the fallback scheduler decides: then it is not "applied".
        absent = workplace.run("set", "scheduler.name=drl", "scheduler.model=nope/offline")
        assert absent.returncode == 2, absent.stdout
        assert "was rejected" in absent.stdout or "have not acknowledged it" in absent.stdout
        assert "no model offline of run 'nope'" in absent.stdout
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "is served at http://" in output
    assert "Traceback" not in output


def test_an_edit_of_the_file_changes_the_scheduler(workplace: Workplace):
    with running(workplace, "serve", "--config", "small.yaml"):
        wait_until(lambda: "(ratc)" in rate_of_last_episodes(workplace))
        file = workplace.folder / "small.yaml"
        file.write_text(file.read_text() + "scheduler: {name: local}\n")
        wait_until(lambda: "local" in rate_of_last_episodes(workplace))


def test_serving_goes_on_after_its_controller_was_killed(workplace: Workplace):
    with running(workplace, "serve", "--config", "small.yaml"):
        wait_until(lambda: workplace.closed_episodes("serve") >= 2)
        kill(workplace.processes("commands.controller")[0])
        before = workplace.closed_episodes("serve")
        wait_until(lambda: workplace.closed_episodes("serve") >= before + 2)
        wait_until(lambda: "(ratc)" in rate_of_last_episodes(workplace))


def test_nothing_stays_behind_when_serve_is_killed(workplace: Workplace):
    with running(workplace, "serve", "--config", "small.yaml") as process:
        wait_until(lambda: workplace.closed_episodes("serve") >= 1)
        kill(process)
        wait_until(lambda: workplace.processes() == [], 30)


def test_a_pipeline_takes_over_a_served_fleet_and_gives_it_back(workplace: Workplace):
    with running(workplace, "serve", "--config", "small.yaml", "--run", "small"):
        wait_until(lambda: workplace.closed_episodes("serve") >= 1)
        controller = workplace.processes("commands.controller")[0].pid
        done = workplace.run("run", "--attach", "--config", "small.yaml", "--out", "runs/small")
        assert done.returncode == 0, done.stdout
        assert [one.pid for one in workplace.processes("commands.controller")] == [controller]
        assert (workplace.folder / "runs/small/report.html").exists()
        before = workplace.closed_episodes("serve")
        wait_until(lambda: workplace.closed_episodes("serve") >= before + 2)
    counts = workplace.accounts("small")
    assert counts["tasks"] == counts["outcomes"] == counts["matched"] > 0


def test_attaching_to_nothing_is_reported(workplace: Workplace, monkeypatch: pytest.MonkeyPatch):
    from commands import attached
    from commands.local import ControllerFailed, open_run
    from middleware.configuration import load_settings

    monkeypatch.setattr(attached, "_WAIT_LIMIT_S", 0.5)
    services = [f"services.database={workplace.database_url}", f"services.storage=file:{workplace.folder}/storage"]
    opened = open_run(load_settings(None, workplace.folder / "small.yaml", services, {}), "alone")
    with pytest.raises(ControllerFailed, match="no controller of the run 'alone' is ready"):
        attached.AttachedController(opened).address()
    opened.database.close()
