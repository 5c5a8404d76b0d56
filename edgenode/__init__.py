"""One edge node: its queues, links, failures and applications, and the interface through which others speak to it.

Start reading at `core.py`, the node's state machine; `node.py` gives it threads, `http.py` its interface, `service.py`
a process. `schedulers/` holds what decides. May import `offload` and `middleware`; `schedulers/` imports `offload` only.
Runs where torch is not installed.
"""
