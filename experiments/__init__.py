"""Repeats the paper's experiments, and compares every method, in the numeric twin (`offload experiment`).

* `definitions.py`: the experiments: their conditions and methods
* `methods.py`: what a method is: a scheduler, a reference, or a stage of a training
* `learning.py`: a training in the twin, without a database
* `cells.py`: the unit of work: one method, or training, on one network in one condition
* `engine.py`: computes cells with Dask, and keeps what is finished
* `summary.py`, `figures.py`: tables and figures of the results
"""
