"""Mounts a small tmpfs, which a test may fill."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


@contextmanager
def _until_full() -> Iterator[None]:
    """Suppress the error of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


class NoSmallDisk(RuntimeError):
    """Mounting is not possible here. The message says why."""


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[SmallDisk]:
    """A small disk for a test, which is skipped if none can be mounted."""
    try:
        made = SmallDisk(folder, kib).__enter__()
    except NoSmallDisk as why:
        pytest.skip(str(why))
    with contextlib.closing(made):
        yield made


class SmallDisk:
    """A tmpfs of `kib` KiB at `folder`, which is created. A context manager. Raises NoSmallDisk."""

    def __init__(self, folder: Path, kib: int) -> None:
        self.folder, self._kib = folder, kib

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._kib}k", "tmpfs", str(self.folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            words = done.stderr.strip()
        except FileNotFoundError as missing:
            raise NoSmallDisk(f"no small file system can be made here: {missing}") from None
        if done.returncode:
            raise NoSmallDisk(f"no small file system can be mounted here: {words}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmount it lazily: files that an ending process has open disappear with the process."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self) -> None:
        """Fill all its space. Call it again if space was freed."""
        file = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (65536, 1):  # in large pieces first; a write may be short
                with _until_full():
                    while True:
                        os.write(file, bytes(size))
        finally:
            os.close(file)

    def empty(self) -> None:
        """Free the space."""
        (self.folder / "filler").unlink()
