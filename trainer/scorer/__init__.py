"""Trains the actor of the scheduler `scorer` (profile `candidates`): a value for each candidate of a decision.

* `fitting.py`: regression of the two outputs on difference rewards
* `general.py`: trains on many networks, for an actor that can be used in all
"""
