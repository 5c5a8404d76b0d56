"""Runs an actor from a model's ONNX bytes, with onnxruntime on one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offload.manifest import ACTOR_INPUT, ACTOR_OUTPUT


class OnnxActor:
    """An `offload.Actor`. Raises ValueError for bytes that are not an actor."""

    def __init__(self, content: bytes) -> None:
        # Imported here and not at the top: onnxruntime is large, and a node with a heuristic does not need it.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common public class
            raise ValueError(f"the actor is not an ONNX model that can be run: {error}") from None
        inputs = [one.name for one in self._session.get_inputs()]
        outputs = [one.name for one in self._session.get_outputs()]
        if inputs != [ACTOR_INPUT] or outputs != [ACTOR_OUTPUT]:
            raise ValueError(
                f"the actor has inputs {inputs} and outputs {outputs}; "
                f"they must be ['{ACTOR_INPUT}'] and ['{ACTOR_OUTPUT}']"
            )

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, O) → (B, N+1), or the rows of R candidates → (R, 2)."""
        result: NDArray[np.float32] = self._session.run([ACTOR_OUTPUT], {ACTOR_INPUT: observations})[0]
        return result
