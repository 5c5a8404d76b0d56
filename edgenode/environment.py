"""Reads what identifies an edge node's pod from its environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenode.stimuli import VARIABLE
from middleware.lifeline import leaving_s
from offload.settings import SettingsError


@dataclass(frozen=True)
class NodeEnvironment:
    """What identifies this pod, from its environment variables (docs/contracts.md).

    leaving_s: how many real seconds a stopped node may wait for the open episode's end
    epoch: the lease epoch of the controller that started this node, in a local fleet
    stimulus_log: the folder of the stimulus logs; None to write none
    """

    run: str
    node: int
    bind: str
    data_dir: Path
    leaving_s: float = 0.0
    epoch: int | None = None
    stimulus_log: Path | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> NodeEnvironment:
        """Read the variables. Raises SettingsError naming the variable that is missing or wrong."""
        for name in ("OFFLOAD_RUN", "OFFLOAD_NODE"):
            if not environment.get(name):
                raise SettingsError(f"{name} is not set; a node needs the run's name and its own index")
        node = environment["OFFLOAD_NODE"]
        if not node.isdigit():
            raise SettingsError(f"OFFLOAD_NODE={node!r} must be the node's index, an integer of 0 or more")
        epoch = environment.get("OFFLOAD_EPOCH")
        if epoch is not None and not epoch.isdigit():
            raise SettingsError(f"OFFLOAD_EPOCH={epoch!r} must be the epoch of the controller's lease, an integer")
        return cls(
            run=environment["OFFLOAD_RUN"],
            node=int(node),
            bind=environment.get("OFFLOAD_BIND", "127.0.0.1:0"),
            data_dir=Path(environment.get("OFFLOAD_DATA_DIR", ".offload/pod")),
            leaving_s=leaving_s(environment),
            epoch=None if epoch is None else int(epoch),
            stimulus_log=Path(folder) if (folder := environment.get(VARIABLE)) else None,
        )
