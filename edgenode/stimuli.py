"""The stimulus log: all events that a node's core has handled, in order, to replay a wrong outcome.

It is off unless `OFFLOAD_STIMULUS_LOG` names a folder. Each episode then has a file
`episode-NNNNNN-UID-node-N-INCARNATION.jsonl`, with the first 8 characters of the episode's uid. A node that opens the
episode again, as after a crash, has another incarnation, and so another file. The first line contains the facts of the
episode; every other line contains one event. The core is deterministic, so the replay gives the same effects.

    python -m edgenode.stimuli FILE            prints all events, and the effects of each
    python -m edgenode.stimuli FILE 12/3       prints the events of the task of slot 12 at node 3

Concurrency: the loop thread writes. The thread that stops the episode closes the file, after the loop thread has ended
or when it no longer waits for it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgenode.core import NodeCore
from edgenode.effects import Effect
from edgenode.facts import EpisodeFacts, Key, NodeTask, Settlement, Snapshot
from offload.network import Network
from offload.tasks import Task

_logger = logging.getLogger(__name__)
VARIABLE = "OFFLOAD_STIMULUS_LOG"


@dataclass(frozen=True)
class Stimulus:
    """One event: the core's method, and its arguments by name."""

    event: str
    arguments: Mapping[str, Any]


class LoggedCore(NodeCore):
    """A core that writes each event into a file before it handles the event."""

    def __init__(self, facts: EpisodeFacts, folder: Path, incarnation: int) -> None:
        """Raises OSError if the file cannot be written, or exists."""
        super().__init__(facts)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"episode-{facts.episode:06d}-{facts.episode_uid[:8]}-node-{facts.node}-{incarnation}.jsonl"
        self._file: IO[str] | None = (folder / name).open("x", encoding="ascii", buffering=1)
        self._write(_facts_as_json(facts))

    def tick(self, slot: int, arrived: Task | None, at_s: float) -> Snapshot | None:
        """See NodeCore."""
        self._log("tick", slot=slot, arrived=None if arrived is None else dataclasses.asdict(arrived), at_s=at_s)
        return super().tick(slot, arrived, at_s)

    def decided(self, key: Key, destination: int, now: float) -> None:
        """See NodeCore."""
        self._log("decided", key=key, destination=destination, now=now)
        super().decided(key, destination, now)

    def announced(self, source: int, slot: int, cycles: float, forget_at_s: float) -> None:
        """See NodeCore."""
        self._log("announced", source=source, slot=slot, cycles=cycles, forget_at_s=forget_at_s)
        super().announced(source, slot, cycles, forget_at_s)

    def withdrawn(self, source: int, slot: int) -> None:
        """See NodeCore."""
        self._log("withdrawn", source=source, slot=slot)
        super().withdrawn(source, slot)

    def handed_over(self, task: NodeTask, elapsed_s: float, now: float) -> bool:
        """See NodeCore."""
        self._log("handed_over", task=dataclasses.asdict(task), elapsed_s=elapsed_s, now=now)
        return super().handed_over(task, elapsed_s, now)

    def handover_settled(self, key: Key, result: Settlement, now: float) -> None:
        """See NodeCore."""
        self._log("handover_settled", key=key, result=result, now=now)
        super().handover_settled(key, result, now)

    def execution_ended(self, key: Key, now: float, broken: bool = False) -> None:
        """See NodeCore."""
        self._log("execution_ended", key=key, now=now, broken=broken)
        super().execution_ended(key, now, broken)

    def overload_received(self, node: int, overloaded: bool, sequence: int) -> None:
        """See NodeCore."""
        self._log("overload_received", node=node, overloaded=overloaded, sequence=sequence)
        super().overload_received(node, overloaded, sequence)

    def advance(self, now: float) -> None:
        """See NodeCore."""
        self._log("advance", now=now)
        super().advance(now)

    def _log(self, event: str, **arguments: Any) -> None:
        if self._file is not None:
            try:
                self._write({"event": event, **arguments})
            except (OSError, ValueError) as error:  # neither a full disk nor a closed file must end the episode
                self._file = None
                _logger.warning("the stimulus log of episode %d ends here: %s", self.facts.episode, error)

    def _write(self, content: Mapping[str, Any]) -> None:
        if (file := self._file) is not None:
            file.write(json.dumps(content) + "\n")

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def core_for(facts: EpisodeFacts, folder: Path | None, incarnation: int) -> NodeCore:
    """The core of an episode. It has a stimulus log if a folder is given and can be written.

    incarnation: differs for each time that the node opens the episode
    """
    if folder is None:
        return NodeCore(facts)
    try:
        return LoggedCore(facts, folder, incarnation)
    except OSError as error:
        _logger.warning("episode %d has no stimulus log: %s", facts.episode, error)
        return NodeCore(facts)


def close_log(core: NodeCore) -> None:
    """Close the core's stimulus log, if it has one."""
    if isinstance(core, LoggedCore):
        core._close()


def replay(path: Path) -> Iterator[tuple[Stimulus, list[Effect]]]:
    """Each event of a log, with its effects. Raises ValueError naming a line that is not an event."""
    with path.open(encoding="ascii") as file:
        core = NodeCore(_parsed(path, 1, file.readline(), _facts_from_json))
        for number, line in enumerate(file, start=2):
            stimulus = _parsed(path, number, line, _stimulus_from_json)
            _parsed(path, number, line, lambda _, again=stimulus: getattr(core, again.event)(**again.arguments))
            yield stimulus, core.take_effects()


def _parsed(path: Path, number: int, line: str, read: Any) -> Any:
    try:
        return read(json.loads(line))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}, line {number} is not of a stimulus log: {error!r}") from None


def _stimulus_from_json(content: dict[str, Any]) -> Stimulus:
    event = content.pop("event")
    if event not in _EVENTS:
        raise ValueError(f"there is no event {event!r}")
    if "key" in content:
        slot, source = content["key"]
        content["key"] = slot, source
    if content.get("arrived") is not None:
        content["arrived"] = Task(**content["arrived"])
    if "task" in content:
        content["task"] = NodeTask(**content["task"])
    return Stimulus(event, content)


_EVENTS = frozenset(name for name in vars(LoggedCore) if not name.startswith("_"))


def _facts_as_json(facts: EpisodeFacts) -> dict[str, Any]:
    content = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    network = {field.name: getattr(facts.network, field.name).tolist() for field in dataclasses.fields(Network)}
    return {**content, "network": network}


def _facts_from_json(content: dict[str, Any]) -> EpisodeFacts:
    network = Network(**{name: np.array(values, dtype=float) for name, values in content.pop("network").items()})
    return EpisodeFacts(network=network, **content)


def _concerns(key: Key | None, stimulus: Stimulus, effects: Sequence[Effect]) -> bool:
    if key is None:
        return True
    named = stimulus.arguments.get("key"), (stimulus.arguments.get("slot"), stimulus.arguments.get("source"))
    tasks = [effect.task.key for effect in effects if hasattr(effect, "task")]
    given = [stimulus.arguments.get("task"), stimulus.arguments.get("arrived")]
    tasks += [(task.slot, task.source) for task in given if task is not None]
    return key in named or key in tasks


def main(arguments: Sequence[str]) -> int:
    """Print a log with its effects: all of it, or what concerns one task.

    Returns exit code 2 if the file is not a stimulus log, or has no such task.
    """
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        print("usage: python -m edgenode.stimuli FILE [SLOT/SOURCE], for example 4/3", file=sys.stderr)
        return 2
    key: Key | None = None
    found = False
    try:
        if len(arguments) == 2:
            key = _key(arguments[1])
        for stimulus, effects in replay(Path(arguments[0])):
            if _concerns(key, stimulus, effects) and (effects or stimulus.event != "advance"):
                found = True
                print(stimulus.event, dict(stimulus.arguments))
                for effect in effects:
                    print("    ", effect)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if not found:
        print(f"{arguments[0]} has no event{f' of task {arguments[1]}' if key else ''}", file=sys.stderr)
    return 0 if found else 2


def _key(text: str) -> Key:
    slot, _, source = text.partition("/")
    if not (slot.isdecimal() and source.isdecimal()):
        raise ValueError(f"{text}: write SLOT/SOURCE, for example 4/3")
    return int(slot), int(source)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
