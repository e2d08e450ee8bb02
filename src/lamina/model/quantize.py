"""Smaller networks with nearly the same answers: weights and sums in 8 bits, or weights kept in 16 (needs onnx).

Eight bits (Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference"): weights are rounded by channel, activations by ranges seen on training examples. Weights use seven of the
eight bits: without that, processors that lack the newer dot products overflow where others do not, and one file would
answer differently on two machines.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.model import graph

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]

OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather")
"""Where nearly all of a network's weights and work are; between them numbers stay as they are."""
FEWEST = 1024
"""Numbers in a weight below which nothing is gained."""


def to_int8(network: bytes, batches: Sequence[Mapping[str, Array]]) -> bytes:
    """The network with 8-bit weights and, between them, 8-bit activations.

    Args:
        network: ONNX bytes.
        batches: encoded training examples by the graph's input names, a few hundred rows in all.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="lamina-") as place, _quiet():
        whole, ready, small = (Path(place) / name for name in ("whole.onnx", "ready.onnx", "small.onnx"))
        whole.write_bytes(network)
        # Known shapes, and normalisations folded into the convolutions before them.
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(small),
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=_kept(onnx.load(str(ready)).graph),
            per_channel=True,
            reduce_range=True,
            # Unsigned activations with signed weights: the pair that processors multiply in one instruction.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _checked(onnx.load(str(small)))


def to_half(network: bytes) -> bytes:
    """The network with its weights kept in 16 bits; it computes in 32 as before.

    Tables are looked up as they are kept; other weights are widened when the network runs. A weight beyond the range of
    16 bits stays as it is.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(network)
    inner = model.graph
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in inner.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    # A weight that a graph inside an If reads would need its cast there.
    fixed = {value.name for value in inner.output} | {name for node in inner.node for name in names_inside(node)}
    narrowed: list[onnx.NodeProto] = []
    for tensor in inner.initializer:
        wide = tensor.data_type == TensorProto.FLOAT and tensor.name not in fixed
        if not wide or int(np.prod(tensor.dims)) < FEWEST:
            continue
        values = numpy_helper.to_array(tensor)
        if not np.abs(values).max(initial=0) < float(np.finfo(np.float16).max):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
        if all(node.op_type == "Gather" and node.input[0] == name for node in users.get(name, [])):
            for node in users.get(name, []):
                found = node.output[0]
                node.output[0] = f"{found}.half"
                narrowed.append(helper.make_node("Cast", [node.output[0]], [found], to=TensorProto.FLOAT))
        else:
            for node in users[name]:
                node.input[:] = [f"{name}.wide" if given == name else given for given in node.input]
            narrowed.append(helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))
    nodes = _in_order([*narrowed, *inner.node], {value.name for value in (*inner.input, *inner.initializer)})
    del inner.node[:]
    inner.node.extend(nodes)
    return _checked(model)


def names_inside(node: onnx.NodeProto) -> Iterator[str]:
    """The names that graphs inside a node read."""
    for attribute in node.attribute:
        for part in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in part.node:
                yield from inner.input
                yield from names_inside(inner)


def _in_order(nodes: Sequence[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """The nodes so that each comes after those whose results it reads."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    placed, found, stack = set[int](), list[Any](), list(range(len(nodes)))[::-1]
    while stack:
        number = stack[-1]
        needed = {makers[name] for name in (*nodes[number].input, *names_inside(nodes[number])) if name in makers}
        waiting = [other for other in needed if other not in placed and other != number]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        if number not in placed:
            placed.add(number)
            found.append(nodes[number])
    return found


def _kept(network: onnx.GraphProto) -> list[str]:
    """The nodes that stay as they are: ensembles multiply stacks of matrices, which have no 8-bit kernel."""
    stacks = {tensor.name for tensor in network.initializer if len(tensor.dims) > 2}
    return [node.name for node in network.node if node.op_type in ("MatMul", "Gemm") and stacks & set(node.input)]


def _reader(batches: Sequence[Mapping[str, Array]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the batches once."""

        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, Array] | None:
            batch = next(self.left, None)
            return None if batch is None else dict(batch)

    return Reader()


def _checked(model: onnx.ModelProto) -> bytes:
    import onnx

    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    graph.check(content, "the smaller network")
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tools advise their own users on the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
