"""One edge node: its queues, links, failures, applications and HTTP interface.

Start reading at `core.py`, the node's state machine. `node.py` and `runtime.py` add the threads, `http/` the interface,
and `process.py` the process. `schedulers/` contains the schedulers.

The package may import `offload` and `middleware`; `schedulers/` may import `offload` only. A node runs where torch is
not installed.
"""
