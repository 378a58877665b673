"""Weights that lie in the file as bfloat16: half as large, and float32 again before anything is done with them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

WEIGHT, CONSTANT = "weight", "constant"  # what is noted at tensors
READERS = ("Conv", "ConvTranspose", "Einsum", "GRU", "Gather", "Gemm", "LSTM", "MatMul")  # of weights, of other names
FEW = 256  # numbers of a tensor: below, nothing is saved, and they are biases, scales and constants
LARGEST = 3.3895314e38  # that bfloat16 has; what masks are filled with is larger


def store_bf16(source: Path, target: Path) -> None:
    """Write a graph of ONNX once more, with its large weights of float32 as bfloat16, and a `Cast` behind each.

    Weights are what was learned, under its name or, worked into something else, where products, convolutions and
    look-ups read it. Values that others are held against, the waves of a spectrum and other constants stay as they are:
    rounded, they are something else.

    ONNX Runtime works the casts out once, when it opens the file: what runs is float32, as fast and as large as before.
    """
    import onnx
    from onnx import TensorProto

    model, body = onnx.load(source), onnx.GraphProto()
    read = {name for node in model.graph.node if node.op_type in READERS for name in node.input}
    for tensor in model.graph.initializer:
        is_weight = tensor.doc_string == WEIGHT or (tensor.name in read and tensor.doc_string != CONSTANT)
        if not is_weight or tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < FEW:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not (np.abs(values) <= LARGEST).all():
            continue
        name, halves = tensor.name, f"{tensor.name}.bf16"
        body.node.append(onnx.helper.make_node("Cast", [halves], [name], to=TensorProto.FLOAT))
        bits = as_bf16(values).astype("<u2").tobytes()
        stored = TensorProto(name=halves, data_type=TensorProto.BFLOAT16, dims=tensor.dims, raw_data=bits)
        tensor.CopyFrom(stored)
    body.node.extend(model.graph.node)  # a cast comes before what reads it
    del model.graph.node[:]
    model.graph.node.extend(body.node)
    onnx.save(model, target)


def as_bf16(values: np.ndarray) -> np.ndarray:
    """Finite float32 → the bits of the nearest bfloat16, uint16; of two that are as near, the even one.

    bfloat16 is the upper half of a float32: its 8 bits of exponent, and 7 of 23 bits behind the point.

    Example:
        >>> [hex(bits) for bits in as_bf16(np.array([1.0, -2.0, 1.00390625, 1.01171875], np.float32)).tolist()]
        ['0x3f80', '0xc000', '0x3f80', '0x3f82']
    """
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
