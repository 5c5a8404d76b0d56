"""Trains actors of the scheduler `scorer` (profile `candidates`): a value for each candidate of a decision.

* `rebuilding.py`: the decisions of an episode with the values of all candidates, from its log
* `buffer.py`: the decisions of many episodes
* `regression.py`: the losses of the actor's two outputs
* `general.py`: trains on many networks, for an actor that can be used in all

`trainer/algorithms/scorer.py` has the algorithms of the pipeline.
"""
