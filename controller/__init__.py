"""The control layer: the slot clock, the traces that are played, the life of episodes, the fleet of local processes, REST.

Start reading at `episodes.py`. May import `offload` and `middleware`. It never decides where a task goes.
"""
