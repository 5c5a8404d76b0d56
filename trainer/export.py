"""Exports an actor as ONNX. An edge node runs it with onnxruntime, without torch.

The module writes the graph node by node. A chain of Gemm and Relu needs no tracer, so the file does not depend on an
exporter.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from offload.manifest import ACTOR_INPUT, ACTOR_OUTPUT

OPSET = 17


def actor_to_onnx(actor: nn.Module) -> bytes:
    """The ONNX model of an `mlp`: `observation` (batch, O) float32 → `logits` (batch, N+1), before masking.

    Raises TypeError for a layer other than Linear and ReLU.
    """
    nodes, parameters = [], []
    value = ACTOR_INPUT
    layers = list(actor.children())
    for place, layer in enumerate(layers):
        result = ACTOR_OUTPUT if place == len(layers) - 1 else f"hidden_{place}"
        if isinstance(layer, nn.Linear):
            names = [f"weight_{place}", f"bias_{place}"]
            for name, tensor in zip(names, (layer.weight, layer.bias), strict=True):
                parameters.append(numpy_helper.from_array(tensor.detach().cpu().numpy(), name))
            nodes.append(helper.make_node("Gemm", [value, *names], [result], transB=1))
        elif isinstance(layer, nn.ReLU):
            nodes.append(helper.make_node("Relu", [value], [result]))
        else:
            raise TypeError(f"an actor has Linear and ReLU layers only, not {type(layer).__name__}")
        value = result
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    graph = helper.make_graph(
        nodes,
        "actor",
        [helper.make_tensor_value_info(ACTOR_INPUT, TensorProto.FLOAT, ["batch", linear[0].in_features])],
        [helper.make_tensor_value_info(ACTOR_OUTPUT, TensorProto.FLOAT, ["batch", linear[-1].out_features])],
        parameters,
    )
    opset = helper.make_opsetid("", OPSET)
    # The oldest IR version with this opset: every supported onnxruntime can read it.
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="offload-testbed",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
