"""Defines the faults. Each begins during an episode and has ended when `inject` returns."""

from __future__ import annotations

import os
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import control_faults
import network_faults
from fault import Fault
from running import wait_until

if TYPE_CHECKING:
    from scene import Scene


def _database_killed(scene: Scene, draw: Random) -> None:
    scene.servers.mariadb.signal(signal.SIGKILL, "mariadb")
    time.sleep(10.0)
    scene.servers.mariadb.start()


def _database_frozen(scene: Scene, draw: Random) -> None:
    scene.servers.mariadb.signal(signal.SIGSTOP, "mariadb")
    time.sleep(10.0)
    scene.servers.mariadb.signal(signal.SIGCONT, "mariadb")


def _database_read_only(scene: Scene, draw: Random) -> None:
    scene.sql("SET GLOBAL read_only = 1")
    try:
        time.sleep(draw.uniform(2.0, 10.0))
    finally:
        scene.sql("SET GLOBAL read_only = 0")


def _data_node_killed(scene: Scene, draw: Random) -> None:
    # The server is not restarted before the run has ended.
    scene.servers.hdfs.signal(signal.SIGKILL, f"datanode{draw.randrange(2)}")


def _name_node_frozen(scene: Scene, draw: Random) -> None:
    scene.servers.hdfs.signal(signal.SIGSTOP, "namenode")
    time.sleep(draw.uniform(3.0, 15.0))
    scene.servers.hdfs.signal(signal.SIGCONT, "namenode")


def _name_node_killed(scene: Scene, draw: Random) -> None:
    scene.servers.hdfs.signal(signal.SIGKILL, "namenode")
    time.sleep(draw.uniform(0.0, 8.0))
    scene.servers.hdfs.start()


def _nacos_killed(scene: Scene, draw: Random) -> None:
    scene.servers.nacos.signal(signal.SIGKILL, "nacos")
    time.sleep(draw.uniform(2.0, 15.0))
    scene.servers.nacos.start()


def _nacos_frozen(scene: Scene, draw: Random) -> None:
    scene.servers.nacos.signal(signal.SIGSTOP, "nacos")
    time.sleep(draw.uniform(2.0, 15.0))
    scene.servers.nacos.signal(signal.SIGCONT, "nacos")


def _node_killed(scene: Scene, draw: Random) -> None:
    os.kill(draw.choice(scene.processes("commands.node")), signal.SIGKILL)


def _node_frozen(scene: Scene, draw: Random) -> None:
    pid = draw.choice(scene.processes("commands.node"))
    os.kill(pid, signal.SIGSTOP)
    time.sleep(draw.uniform(0.3, 6.0))
    os.kill(pid, signal.SIGCONT)


def _node_frozen_permanently(scene: Scene, draw: Random) -> None:
    os.kill(draw.choice(scene.processes("commands.node")), signal.SIGSTOP)


def _controller_killed(scene: Scene, draw: Random) -> None:
    os.kill(scene.processes("commands.controller")[0], signal.SIGKILL)


def _controller_replaced(scene: Scene, draw: Random) -> None:
    # Frozen for longer than the lease lasts, so the second copy takes over the run. How long that takes depends on the
    # machine.
    (controller,) = scene.processes("commands.controller")
    epoch = scene.epoch()
    os.kill(controller, signal.SIGSTOP)
    first = scene.start_rival()
    wait_until(lambda: scene.epoch() > epoch)
    time.sleep(draw.uniform(0.0, 8.0))
    os.kill(controller, signal.SIGCONT)
    scene.expect_end(first, "another process controls run")


def _second_command(scene: Scene, draw: Random) -> None:
    second = scene.start_rival(takes_over=False)
    scene.expect_end(second, "has a controller already")


def _trainer_killed(scene: Scene, draw: Random) -> None:
    # At any instant: not only at the start of an episode, but even while the trainer trains or publishes.
    time.sleep(draw.uniform(0.0, 6.0))
    scene.kill_trainer()


def _disk_full(scene: Scene, draw: Random) -> None:
    until = time.monotonic() + draw.uniform(2.0, 10.0)
    while time.monotonic() < until:
        scene.disk.fill()  # a second time, because delivered segments were deleted
        time.sleep(0.05)
    scene.disk.empty()


def _poison(scene: Scene, draw: Random) -> None:
    lines = [
        b"[1, 2]",
        b"{}",
        b'{"table": "decision", "slot": 1}',
        b'{"table": "decisions", "slot": 1, "node": 0, "log_probability": -Infinity}',
        b'{"table": "outcomes", "slot": "one", "colour": "red"}',
        bytes(512),
        draw.randbytes(2000),
    ]
    draw.shuffle(lines)
    for folder in scene.outboxes():
        (folder / "000000000.jsonl").write_bytes(b"\n".join(lines))


def _nothing(scene: Scene, draw: Random) -> None:
    pass


FAULTS = (
    Fault("none", "nothing, for comparison", None, _nothing),
    Fault("database-killed", "database killed, restarted after 10 s", "the database", _database_killed),
    Fault("database-frozen", "database frozen for 10 s", "the database", _database_frozen),
    Fault("database-read-only", "database read only for 2 to 10 s", "the database", _database_read_only),
    Fault("data-node-killed", "one of two HDFS data nodes killed", "the storage", _data_node_killed),
    Fault("name-node-frozen", "HDFS name node frozen for 3 to 15 s", "the storage", _name_node_frozen),
    Fault("name-node-killed", "HDFS name node killed, restarted within 8 s", "the storage", _name_node_killed),
    Fault("nacos-killed", "Nacos killed, restarted after 2 to 15 s", "Nacos", _nacos_killed),
    Fault("nacos-frozen", "Nacos frozen for 2 to 15 s", "Nacos", _nacos_frozen),
    Fault("node-killed", "an edge node killed", None, _node_killed),
    Fault("node-frozen", "an edge node frozen for 0.3 to 6 s", None, _node_frozen),
    Fault("node-frozen-for-good", "an edge node frozen permanently", None, _node_frozen_permanently),
    Fault(
        "disk-full",
        "the disk of all edge nodes and the controller full for 2 to 10 s",
        None,
        _disk_full,
        unharmed=True,
        small_disk=True,
    ),
    Fault("poison", "random bytes and malformed records written into the outboxes", None, _poison, unharmed=True),
    Fault("controller-killed", "the controller killed", None, _controller_killed),
    Fault(
        "controller-replaced",
        "the controller frozen until a second copy of the command has taken over the run, then resumed after 0 to 8 s",
        None,
        _controller_replaced,
    ),
    Fault("second-command", "the same command started a second time during the run", None, _second_command),
    Fault("trainer-killed", "the trainer killed, then restarted with the same command", None, _trainer_killed),
    *control_faults.FAULTS,
    *network_faults.FAULTS,
)
