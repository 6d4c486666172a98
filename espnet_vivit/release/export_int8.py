"""Weight-only int8 in an ONNX model: matrices as 8-bit integers with a scale for each output, read back to float32.

A matrix W (inputs x outputs) becomes round(W / scale) with scale = max|W| / 127 of each output, and a standard
`DequantizeLinear` in front of the product: any runtime reads it. Only weights of linear layers are touched, neither
convolutions nor norms, biases and tables, which are small. The file asks for float32 arithmetic; onnxruntime makes one
operation of the two and, where nothing else is said, rounds the other factor to 8 bits as well, which is faster: its
session entry `session.qdq_matmulnbits_accuracy_level` = "1" keeps that factor in float32.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

LEAST_WEIGHTS = 4096  # below this, a matrix as integers saves nothing worth its error


def quantize_weights(model: onnx.ModelProto, *, least: int = LEAST_WEIGHTS) -> list[str]:
    """Change `model` in place; returns the names of the matrices that are integers now."""
    graph = model.graph
    axes = _output_axes(graph)
    done, nodes = [], []
    for initializer in list(graph.initializer):
        weights = numpy_helper.to_array(initializer)
        if initializer.name not in axes or weights.dtype != np.float32 or weights.size < least:
            continue
        axis = axes[initializer.name]
        integers, scale = quantize(weights, axis)
        name = initializer.name
        graph.initializer.remove(initializer)
        graph.initializer.append(numpy_helper.from_array(integers, name + ".int8"))
        graph.initializer.append(numpy_helper.from_array(scale, name + ".scale"))
        nodes.append(helper.make_node("DequantizeLinear", [name + ".int8", name + ".scale"], [name], axis=axis))
        done.append(name)
    for node in reversed(nodes):
        graph.node.insert(0, node)  # what a node reads must stand before it
    return done


def quantize(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) float32 -> the same as int8 in -127..127, and the scale (n,) of each place along `axis`."""
    scale = np.abs(weights).max(axis=1 - axis) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.rint(weights / np.expand_dims(scale, 1 - axis)).astype(np.int8), scale


def _output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """name -> axis of the outputs, of every matrix that is used as the right side of products, and for nothing else."""
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    axes, others = {}, set()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node.op_type == "Transpose" and node.output[0] in turned:
                continue  # what reads its output decides
            source = turned.get(name, name)
            if node.op_type in ("MatMul", "Gemm") and place == 1:
                transposed = any(a.name == "transB" and a.i for a in node.attribute) != (source != name)
                axes[source] = 0 if transposed else 1
            else:
                others.add(source)
    matrices = {i.name for i in graph.initializer if len(i.dims) == 2}
    return {name: axis for name, axis in axes.items() if name in matrices and name not in others}
