"""The numeric twin: the edge network in virtual time, with exact event times, many episodes side by side.

`compiling` numba and its cache · `core` compiled time rules · `draws` compiled random draws · `twin` the schedulers' view of
it · `observations` the learners' · `planners` reference planners that see everything · `records` the testbed's log rows ·
`parallel_env`, `vector_env` PettingZoo and Gymnasium (`registration` their ids, `episodes` what they play). May import
`offload` and `edgenode.schedulers`.
"""
