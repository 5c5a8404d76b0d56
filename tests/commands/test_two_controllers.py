"""Tests two processes that try to play one run: one plays it undisturbed, the other ends and names the first."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from running import SMALL, Workplace, running, wait_until

from middleware.database import Database, EpisodeSummary, UnknownRun, find_episodes, load_run
from middleware.errors import ServiceError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SERVE = ("serve", "--config", "small.yaml", "--run", "r")
FROZEN_S = 7.0


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def workplace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workplace]:
    url = request.getfixturevalue("mysql_url") if request.param == "mysql" else None
    made = Workplace(tmp_path, url)
    yield made
    wait_until(lambda: made.processes() == [], 30)


def episodes_of(workplace: Workplace, run: str) -> list[EpisodeSummary]:
    """All episodes of a run; an empty list before the run exists."""
    database = Database.connect(workplace.database_url)
    try:
        return find_episodes(database, load_run(database, run), status=None)
    except (UnknownRun, ServiceError):
        return []
    finally:
        database.close()


def closed(workplace: Workplace, run: str) -> list[EpisodeSummary]:
    return [one for one in episodes_of(workplace, run) if one.status == "closed"]


def logs(workplace: Workplace) -> str:
    return "\n".join(
        f"--- {path}\n{path.read_text()[-4000:]}" for path in sorted(workplace.folder.glob(".offload/*/logs/*.log"))
    )


def require_whole(found: list[EpisodeSummary], workplace: Workplace) -> None:
    """Check that one controller played every episode from its start to its end."""
    for one in found:
        summary = (
            f"episode {one.episode}: {one.status}, {one.verdict} ({one.reason}), {dict(one.outcomes)}, down {one.down}"
        )
        assert one.verdict == "complete", f"{summary}\n{logs(workplace)}"
        assert "lost" not in one.outcomes and not one.down and not one.refused_records, f"{summary}\n{logs(workplace)}"


def test_of_two_that_begin_to_serve_a_run_at_once_one_serves_it(workplace: Workplace):
    workplace.run("serve", "--help")  # loads the modules into the disk's cache: both processes start equally fast
    with running(workplace, *SERVE) as first, running(workplace, *SERVE) as second:
        wait_until(lambda: first.poll() is not None or second.poll() is not None, 60)
        ended, other = (first, second) if first.poll() is not None else (second, first)
        output = ended.communicate(timeout=30)[0]
        assert ended.returncode == 2, output
        assert "run 'r' has a controller already" in output and "Traceback" not in output
        begun = len(closed(workplace, "r"))
        wait_until(lambda: len(closed(workplace, "r")) >= begun + 3)
        assert other.poll() is None
        require_whole(closed(workplace, "r"), workplace)
        other.send_signal(signal.SIGINT)
        other.wait(30)


def test_replaced_frozen_controller_changes_nothing(workplace: Workplace):
    with running(workplace, *SERVE) as first:
        wait_until(lambda: len(closed(workplace, "r")) >= 1)
        (controller,) = workplace.processes("commands.controller")
        controller.suspend()
        frozen_at = time.monotonic()
        with running(workplace, *SERVE) as second:
            before = episodes_of(workplace, "r")[-1].episode

            def of_second() -> list[EpisodeSummary]:
                return [one for one in closed(workplace, "r") if one.episode > before]

            wait_until(lambda: len(of_second()) >= 1)
            time.sleep(max(0.0, FROZEN_S - (time.monotonic() - frozen_at)))
            controller.resume()
            output = first.communicate(timeout=60)[0]
            assert first.returncode == 2, output
            assert "another process controls run 'r' now" in output and "Traceback" not in output
            after = len(of_second())
            wait_until(lambda: len(of_second()) >= after + 3)
            assert second.poll() is None
            require_whole(of_second(), workplace)
            second.send_signal(signal.SIGINT)
            second.wait(30)


def test_a_controller_that_was_frozen_while_nobody_else_came_goes_on(workplace: Workplace):
    with running(workplace, *SERVE) as only:
        wait_until(lambda: len(closed(workplace, "r")) >= 1)
        (controller,) = workplace.processes("commands.controller")
        controller.suspend()
        time.sleep(FROZEN_S)
        controller.resume()
        begun = len(episodes_of(workplace, "r"))
        wait_until(lambda: sum(one.verdict == "complete" for one in episodes_of(workplace, "r")[begun:]) >= 2)
        assert psutil.pid_exists(controller.pid) and only.poll() is None
        only.send_signal(signal.SIGINT)
        only.wait(30)


def test_of_two_twins_of_one_name_one_plays(workplace: Workplace):
    command = ("run", "--twin", "--config", "small.yaml", "--out", "runs/r", "--phase", "collect")
    plans = 200
    (workplace.folder / "small.yaml").write_text(
        SMALL.replace("offline: {episodes: 3", f"offline: {{episodes: {plans}")
    )
    workplace.run("simulate", "--config", "small.yaml", "--episodes", "1")  # compiles the twin
    with running(workplace, *command) as first, running(workplace, *command) as second:
        output = {one.pid: one.communicate(timeout=150)[0] for one in (first, second)}
    # On a busy machine the second process may begin when the first has ended: then nothing is left to play.
    codes = sorted((first.returncode, second.returncode))
    assert codes in ([0, 2], [0, 0]), output
    if codes == [0, 2]:
        refused = first if first.returncode == 2 else second
        assert "run 'r' is already controlled" in output[refused.pid]
        assert "Traceback" not in output[refused.pid]
    assert len(episodes_of(workplace, "r")) == plans


def test_of_two_pipelines_of_one_name_one_plays(workplace: Workplace):
    command = ("run", "--config", "small.yaml", "--out", "runs/r", "--phase", "collect")
    with running(workplace, *command) as first, running(workplace, *command) as second:
        output = {one.pid: one.communicate(timeout=150)[0] for one in (first, second)}
    assert sorted((first.returncode, second.returncode)) == [0, 2], output
    refused = first if first.returncode == 2 else second
    assert "run 'r' has a controller already" in output[refused.pid]
    assert "Traceback" not in output[refused.pid]
    found = episodes_of(workplace, "r")
    assert len(found) == 3
    require_whole(found, workplace)
