"""Tests that no controller is left behind by a command that ends just when its controller has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from commands.local import LocalController, open_run
from offload.settings import resolve_settings


class SlowStart(LocalController):
    """Starts a sleeping process instead of a controller. The second start takes until the command ends, or a second."""

    def __init__(self, folder: Path) -> None:
        services = {"database": f"sqlite:///{folder}/offload.db", "storage": f"file:{folder}/storage"}
        super().__init__(open_run(resolve_settings([{"services": services}]), "r"), folder)
        self.children: list[subprocess.Popen[bytes]] = []
        self.starting_again = threading.Event()

    def _start(self) -> subprocess.Popen[bytes]:
        if self.children:
            self.starting_again.set()
            self._stopping.wait(1.0)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.write_text("it was killed\n")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE)
        self.children.append(child)
        return child


def test_a_controller_that_is_being_restarted_ends_with_its_command(tmp_path: Path) -> None:
    with SlowStart(tmp_path) as controller:
        os.kill(controller.pid, signal.SIGKILL)
        assert controller.starting_again.wait(60)
    try:
        assert len(controller.children) == 2
        assert [child.poll() is not None for child in controller.children] == [True, True]
    finally:
        for child in controller.children:
            child.kill()
