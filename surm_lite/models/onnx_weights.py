"""Reads the weights out of an ONNX file with numpy alone.

An ONNX file is a protobuf message: a row of fields, each a key (number << 3 | wire type) and a value. Four numbers of
the format are all that is needed here; see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

GRAPH = 7  # in ModelProto
NODE, INITIALIZER = 1, 5  # in GraphProto
NODE_INPUT, NODE_NAME, NODE_OP = 1, 3, 4  # in NodeProto
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA = 1, 2, 8, 9  # in TensorProto
FLOAT32 = 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first; the top bit of a byte says that another follows."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The fields of one message: the number of each, and its value, either a whole number or a run of bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, size = 0, 0
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 2:
            size, at = _varint(data, at)
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
        else:
            raise ValueError(f"a field has wire type {key & 7}")
        if at + size > len(data):
            raise IndexError("it ends in the middle of a field")
        yield key >> 3, value, data[at : at + size]
        at += size


def _tensor(message: memoryview) -> tuple[str, np.ndarray | None]:
    """Name and content of a TensorProto; None for anything but float32 stored as raw bytes (shapes, axes)."""
    name, dims, kind, raw = "", [], 0, memoryview(b"")
    for number, value, content in _fields(message):
        if number == TENSOR_NAME:
            name = str(content, "utf-8")
        elif number == DIMS:
            dims.append(value)
        elif number == DATA_TYPE:
            kind = value
        elif number == RAW_DATA:
            raw = content
    return name, np.frombuffer(raw, dtype="<f4").reshape(dims) if kind == FLOAT32 and raw else None


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The float32 initialisers of an ONNX file by name.

    Exporters fold the weight of a linear layer, transposed, into a nameless `onnx::MatMul_<n>`. The MatMul node that
    uses it still carries the path of its layer ("/backbone/encoder/layer.0/mlp/fc1/MatMul"), which gives the name back.

    Args:
        path: an ONNX file.

    Returns:
        dict: arrays that look into the file's memory, read-only; linear weights as torch holds them, (out, in).

    Raises:
        ValueError: no ONNX file, or one that is cut short.
    """
    try:
        graphs = [content for number, _, content in _fields(memoryview(path.read_bytes())) if number == GRAPH]
        parts = [(number, content) for graph in graphs for number, _, content in _fields(graph)]
        tensors = [_tensor(content) for number, content in parts if number == INITIALIZER]
        nodes = [list(_fields(content)) for number, content in parts if number == NODE]
        weights = {name: array for name, array in tensors if array is not None}
        for node in nodes:
            text = {number: str(content, "utf-8") for number, _, content in node if number in (NODE_NAME, NODE_OP)}
            last_input = [str(content, "utf-8") for number, _, content in node if number == NODE_INPUT][-1:]
            if text.get(NODE_OP) == "MatMul" and last_input[0] in weights:
                layer = ".".join(text[NODE_NAME].strip("/").split("/")[:-1])
                weights[f"{layer}.weight"] = weights.pop(last_input[0]).T
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path.name}: is not a whole ONNX file ({error})") from None
    if not weights:
        raise ValueError(f"{path.name}: is not an ONNX file, or it holds no weights")
    return weights
