"""Trains actors from task logs, and runs the O2O pipeline.

The package contains transitions and replay, networks, the learning algorithms, the learner's state and its files, the
publication of models, the source that makes the testbed play episodes, and the six resumable phases.
It may import `offload`, `middleware` and `evaluation`, and needs torch. Algorithms are found by name
(`trainer.algorithms`). Episodes come from an `offload.EpisodeSource`, which can be a testbed or a simulator.

Start reading at `pipeline.py`.
"""
