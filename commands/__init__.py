"""The composition root: the `offload` command and the pods' entry points.

Its modules may import every package, and do so inside functions, so that `offload --help` is fast and a node never
loads torch. No other package imports this one.
"""
