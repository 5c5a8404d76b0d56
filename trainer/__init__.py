"""The DRL layer: from task logs to actors, and the O2O pipeline that drives it.

Here live transitions and replay, the networks, the algorithms (discrete SAC + CQL, PPO + GAE), the learner's state and
its files, the publication of models, the source that has the testbed play episodes, and the six resumable phases.
May import `offload`, `middleware` and `evaluation`. Needs torch. It gets its episodes through
`offload.EpisodeSource` and does not know whether a cluster or a simulator plays them.

Start reading at `pipeline.py`.
"""
