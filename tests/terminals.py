"""Runs a command in a new terminal, reads its output, and sends Ctrl-C to its process group."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path


def _in_the_foreground() -> None:
    """Make the process a foreground job, as a shell does. Tests in the background inherit an ignored SIGINT."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`offload ARGUMENTS`, the foreground job of a new terminal."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "commands.entry", *arguments],
            cwd=folder,
            env={**environment, "TERM": "xterm", "COLUMNS": "200"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_in_the_foreground,
        )
        os.close(slave)

    def wait_for(self, words: str, timeout_s: float = 90) -> None:
        """Read until the words are shown."""
        until = time.monotonic() + timeout_s
        while words not in self.shown:
            assert time.monotonic() < until, f"{words!r} was not shown within {timeout_s:g} s: {self.shown}"
            assert self._read(), f"{words!r} was not shown before the end: {self.shown}"

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the foreground group, the command and all its child processes."""
        os.write(self._master, b"\x03")

    def end(self, timeout_s: float = 60) -> int:
        """Read until the end. Returns the exit code."""
        until = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < until, f"it did not end within {timeout_s:g} s: {self.shown}"
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        """Read for at most a second. False at the end."""
        if not select.select([self._master], [], [], 1.0)[0]:
            return self.process.poll() is None
        try:
            part = os.read(self._master, 65536)
        except OSError:  # on Linux, the last process has closed the terminal
            return False
        self.shown += part.decode(errors="replace")
        return bool(part)


@contextlib.contextmanager
def terminal(folder: Path, environment: Mapping[str, str], *arguments: str) -> Iterator[Terminal]:
    """`offload ARGUMENTS` in a terminal, which is closed at the end of the block."""
    opened = Terminal(folder, environment, *arguments)
    try:
        yield opened
    finally:
        opened.close()
