"""The numeric twin: the edge network in virtual time, with exact event times, many episodes side by side.

The package may import `offload` and `edgenode.schedulers`. Its modules:

* `arrays`: the data of B episodes; `core`: the compiled time rules; `draws`: compiled random draws
* `compiling`: numba and its cache on the disk
* `twin`: the twin as schedulers see it; `observations`: the twin as learners see it
* `planners`: reference planners that see all queues
* `records`: the rows that the testbed would log
* `parallel_env`, `vector_env`: the PettingZoo and Gymnasium environments
* `episodes`: the episodes that the environments play; `registration`: the environments' ids
"""
