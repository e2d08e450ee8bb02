"""What PyTorch's exporter does twice is done once while Lamina exports (training side; needs PyTorch).

The places are private to PyTorch. Where another release has none of them, it exports as ever, only slower; and whatever
the graph is, the sealed file is proven to answer as the network does.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


@contextlib.contextmanager
def operators_read_once() -> Iterator[None]:
    """The exporter reads its 500 operators anew for every graph, which takes longer than a small graph itself.

    Only while Lamina exports: whoever brings operators of their own must not find them in what is kept.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        reading, reading_once = _operators()
    except (ImportError, AttributeError, KeyError):
        yield
        return
    ONNXRegistry.from_torchlib = staticmethod(reading_once)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = reading  # type: ignore[method-assign]


@functools.cache
def _operators() -> tuple[Any, Callable[..., Any]]:
    """How the exporter reads its operators: its own method, and one that remembers them."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    return ONNXRegistry.__dict__["from_torchlib"], functools.cache(ONNXRegistry.from_torchlib)


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """The exporter traces each program twice more to take apart what ONNX has no operator for: half of its time.

    Of most networks that is nothing but casts, squares, normalisation and the like, for which others are put in place
    here. A program with any other such operator, or one that changes what it reads, is traced by the exporter itself.
    """
    try:
        from torch.onnx._internal.exporter import _fx_passes

        usual = _fx_passes.decompose_with_registry
    except (ImportError, AttributeError):
        yield
        return

    def decompose(exported_program: ExportedProgram, registry: Any) -> ExportedProgram:
        known = _taken_apart(exported_program, registry)
        return exported_program if known else usual(exported_program, registry)

    _fx_passes.decompose_with_registry = decompose
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = usual


def _taken_apart(program: ExportedProgram, registry: Any) -> bool:
    """Leave only operators in the program that the exporter knows; False where that takes more than putting one in
    place of another: of casts, squares, normalisation and the like."""
    import torch

    aten = torch.ops.aten
    ways: dict[Any, Callable[[Node], Node | None]] = {
        aten.to.dtype: functools.partial(_cast, at=1),
        aten.to.device: functools.partial(_cast, at=2),
        aten.to.dtype_layout: _cast,
        aten.batch_norm.default: _normalised,
        aten.conv_transpose2d.input: _transposed,
        aten.feature_dropout.default: _kept,
        aten.numpy_T.default: _turned,
        aten.square.default: _squared,
        aten.rsub.Scalar: _subtracted,
        aten.__and__.Tensor: _both,
    }
    checks = (aten._assert_tensor_metadata.default, aten._assert_scalar.default)
    graph = program.graph_module.graph
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output") and node.target not in checks]
    if not all(node.op == "call_function" and (node.target in ways or _known(node.target, registry)) for node in nodes):
        return False
    others: list[tuple[Node, Node]] = []
    for node in nodes:
        if node.target in ways:
            with graph.inserting_before(node):
                other = ways[node.target](node)
            if other is None:
                return False
            others.append((node, other))
    for node, other in others:
        program.graph_signature.replace_all_uses(node.name, other.name)
        node.replace_all_uses_with(other)
        graph.erase_node(node)
    return True


def _known(target: Any, registry: Any) -> bool:
    """Has the exporter an ONNX operator for it, which changes nothing that it reads?"""
    changes = getattr(target, "_schema", None) is not None and target._schema.is_mutable
    return target is operator.getitem or (registry.is_registered(target) and not changes)


def _called(node: Node, target: Any, arguments: tuple[Any, ...], **more: Any) -> Node:
    """A call in place of another that gives the same."""
    other = node.graph.call_function(target, arguments, more)
    other.meta = dict(node.meta)
    return other


def _cast(node: Node, at: int = 0) -> Node | None:
    """Its type is the argument number `at`, or called "dtype"; of devices a graph knows nothing."""
    import torch

    if len(node.args) != at + 1 or not node.kwargs.keys() <= ({"dtype", "layout", "device"} if at == 0 else set()):
        return None
    kind = node.args[at] if at else node.kwargs.get("dtype")
    if kind is None:
        return None
    return _called(node, torch.ops.aten._to_copy.default, (node.args[0],), dtype=kind)


def _transposed(node: Node) -> Node | None:
    import torch

    if node.kwargs:
        return None
    usual = (None, None, None, [1, 1], [0, 0], [0, 0], 1, [1, 1])
    given: tuple[Any, ...] = (*node.args, *usual[len(node.args) :])
    values, weight, bias, stride, padding, more, groups, dilation = given
    arguments = (values, weight, bias, stride, padding, dilation, True, more, groups)
    return _called(node, torch.ops.aten.convolution.default, arguments)


def _subtracted(node: Node) -> Node | None:
    import torch

    if len(node.args) != 2 or node.kwargs:
        return None
    values, other = node.args
    negative = _called(node, torch.ops.aten.neg.default, (values,))
    negative.meta["val"] = values.meta["val"]  # type: ignore[union-attr]
    return _called(node, torch.ops.aten.add.Tensor, (negative, other))


def _turned(node: Node) -> Node | None:
    import torch

    return _called(node, torch.ops.aten.t.default, node.args) if node.meta["val"].dim() == 2 else None


def _kept(node: Node) -> Node | None:
    """Dropout of whole channels, which outside training is dropout of none."""
    import torch

    training = len(node.args) != 3 or node.args[2]
    return None if training else _called(node, torch.ops.aten.dropout.default, node.args)


def _squared(node: Node) -> Node:
    import torch

    return _called(node, torch.ops.aten.pow.Tensor_Scalar, (*node.args, 2))


def _both(node: Node) -> Node:
    import torch

    return _called(node, torch.ops.aten.bitwise_and.Tensor, node.args)


def _normalised(node: Node) -> Node | None:
    """Only what normalises by its running statistics."""
    import torch

    values, weight, bias, mean, variance, training, momentum, epsilon, _ = node.args
    if training or mean is None or node.kwargs:
        return None
    arguments = (values, weight, bias, mean, variance, momentum, epsilon)
    three = _called(node, torch.ops.aten._native_batch_norm_legit_no_training.default, arguments)
    three.meta["val"] = (node.meta["val"], None, None)
    return _called(node, operator.getitem, (three, 0))
