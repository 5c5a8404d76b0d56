"""Controls a run: opens, plays and closes episodes, starts and watches the edge nodes, and answers REST requests.

Start reading at `episode_runtime.py`, which plays one episode. `player.py` plays one episode after the other.
`control.py` has the operations for clients, and `http/` is the REST interface to them. `process.py` makes, starts and
stops all parts. May import `offload` and `middleware`. The controller never decides where a task goes.
"""
