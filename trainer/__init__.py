"""Trains actors from task logs, and runs the O2O pipeline.

It may import `offload`, `middleware` and `evaluation`, and needs torch. Start reading at `pipeline`.

* `pipeline`, `plans`, `played`, `offline`, `online`, `progress`: the six resumable phases
* `algorithms`: learning algorithms, found by name; `conformance`, `tiny_world`: the checks for them
* `transitions`, `replay`, `datasets`: logs as training data
* `networks`, `learner`, `seeds`: networks, the state of a learner, random generators
* `export`, `publishing`, `events`: ONNX actors, published versions, TensorBoard events
* `source`, `controller_client`: episodes from the testbed; any other `offload.EpisodeSource` works too
"""
