"""The control layer: the slot clock, traces, episodes from opening to close, the fleet of local processes, REST.

Start reading at `episodes.py`, how one episode runs. `player.py` plays one after the other, `control.py` is what
clients can ask for, `http/` is their REST interface, and `process.py` makes, starts and stops all parts. May import
`offload` and `middleware`. It never decides where a task goes.
"""
