"""The learning rules, a module each, with a small pure function per equation of the paper.

`sac_cql.py` trains offline (eq. 10–12, Algorithm 1), `ppo.py` fine-tunes online (eq. 13–19, Algorithm 2). They know
arrays, tensors and the settings' sections; nothing of databases, storage or episodes' sources.
"""
