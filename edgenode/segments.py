"""Reads and writes the outbox's files: segments of records as lines of JSON, and records that are set aside.

A write is complete or has no effect, even on a full disk: half a line would damage the next one. A file may end
anywhere after a power loss. Reading takes only the lines that are records.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SUFFIX: Final = ".jsonl"
REFUSED: Final = "refused.jsonl"
_NAME: Final = re.compile(r"[0-9]{1,15}\.jsonl", re.ASCII)
_BYTES: Final = "base64:"


@dataclass(frozen=True)
class Segment:
    """The content of a segment.

    contents: the records in order, each as `Record.content` returns it if its values are valid
    damaged: the lines that are not records, unchanged
    lines: how many lines, including damaged ones
    """

    contents: Sequence[Mapping[str, Any]]
    damaged: Sequence[bytes]
    lines: int


class WholeWriter:
    """Appends to a file, whole pieces only. One thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be opened."""
        self._file = path.open("ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises OSError if it cannot be written; none of it is in the file then.

        If it cannot be removed either, a part of it may stay. The caller then closes the file and continues in another
        one.
        """
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(piece)

    def close(self) -> None:
        """Close the file. Raises OSError: a network file system may report only now that it is full."""
        self._file.close()


def append(path: Path, piece: bytes) -> None:
    """Append a piece to a file, completely or not at all. Raises OSError."""
    writer = WholeWriter(path)
    try:
        writer.write(piece)
    finally:
        writer.close()


def is_writable(folder: Path) -> bool:
    """Whether a file with content can be created in the folder. Creates the folder too."""
    probe = folder / "probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append(probe, bytes(4096))
        probe.unlink()
    except OSError:
        return False
    return True


def segments_in(folder: Path) -> list[Path]:
    """The segments in the folder, oldest first; none if the folder does not exist. Raises OSError."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
    except FileNotFoundError:
        return []
    return sorted(found, key=number)


def number(segment: Path) -> int:
    """A segment's number."""
    return int(segment.stem)


def line_of(content: Mapping[str, Any], **more: Any) -> bytes:
    """A record's content as a line. A value that JSON cannot express becomes a text, which the check rejects later."""
    plain = {**more, **{key: _plain(value) for key, value in content.items()}}
    return json.dumps(plain, separators=(",", ":"), default=repr).encode("ascii") + b"\n"


def content_of(line: bytes) -> dict[str, Any] | None:
    """The content of a line. None if it is not a record: not a JSON object, cut off, or not encoded by `line_of`."""
    try:
        content = json.loads(line)
        return {key: _parsed(value) for key, value in content.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def lines_of(path: Path) -> list[bytes]:
    """The lines of a segment, including a last line that is cut off. Raises OSError."""
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()  # every whole line ends with the separator
    return lines


def read_segment(path: Path) -> Segment:
    """Read a segment. Raises OSError."""
    lines = lines_of(path)
    found = [(line, content_of(line)) for line in lines]
    return Segment(
        contents=[content for _, content in found if content is not None],
        damaged=[line for line, content in found if content is None],
        lines=len(lines),
    )


def _plain(value: Any) -> Any:
    return _BYTES + base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_BYTES):
        return base64.b64decode(value[len(_BYTES) :], validate=True)
    return value
