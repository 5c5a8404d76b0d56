"""The outbox's files: segments of records as lines of JSON, and what was set aside of them.

A write is whole or not at all, also on a full disk: half a line would spoil the one after it. What is read may be
anything: the end of a file after a power loss, in which case only the lines that are records are taken.
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
    """What a segment holds.

    contents: what the lines say, in order: of each record `Record.content`, where its values are sound
    damaged: the lines that are no records, as they are
    lines: how many, damaged ones included
    """

    contents: Sequence[Mapping[str, Any]]
    damaged: Sequence[bytes]
    lines: int


class WholeWriter:
    """Appends to a file, whole pieces only. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened."""
        self._file = path.open("ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises OSError where it cannot be written; nothing of it is there then.

        Where even that fails, half of it may stay: the caller closes the file and goes on in another one.
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
        """Close the file. Raises OSError where a network file system only says now that it is full."""
        self._file.close()


def append(path: Path, piece: bytes) -> None:
    """Append a piece to a file, whole or not at all. Raises OSError."""
    writer = WholeWriter(path)
    try:
        writer.write(piece)
    finally:
        writer.close()


def takes_records(folder: Path) -> bool:
    """Whether a file with something in it can be made in the folder, which is made as well."""
    probe = folder / "probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append(probe, bytes(4096))
        probe.unlink()
    except OSError:
        return False
    return True


def segments_in(folder: Path) -> list[Path]:
    """The segments in the folder, oldest first; none where there is no folder. Raises OSError."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
    except FileNotFoundError:
        return []
    return sorted(found, key=number)


def number(segment: Path) -> int:
    """A segment's number."""
    return int(segment.stem)


def line_of(content: Mapping[str, Any], **more: Any) -> bytes:
    """A record's content as a line. What JSON does not know becomes a text, which the check refuses later."""
    plain = {**more, **{key: _plain(value) for key, value in content.items()}}
    return json.dumps(plain, separators=(",", ":"), default=repr).encode("ascii") + b"\n"


def content_of(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that is no record: no JSON, no object, cut off, not encoded as by `line_of`."""
    try:
        content = json.loads(line)
        return {key: _parsed(value) for key, value in content.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def lines_of(path: Path) -> list[bytes]:
    """The lines of a segment, the last one also where it is cut off. Raises OSError."""
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
