"""A sealed network's last inner layer as its output: what a head reads serves other questions too (needs onnx).

Donahue et al. 2014, "DeCAF: a deep convolutional activation feature for generic visual recognition".
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError, MissingDependencyError
from lamina.model import graph
from lamina.model.format import Sealed
from lamina.model.quantize import names_inside
from lamina.model.runtime import Model
from lamina.tasks import cluster, embed, few_shot, forecast

if TYPE_CHECKING:
    import onnx

HEADS = ("Gemm", "MatMul")
OUTPUT = "embedding"
LEAST_LENGTH = 1e-12
LARGEST = 100_000
"""Numbers of an embedding; beyond it is a map of places rather than a description."""


def encoder(model: Model, *, unit: bool = False) -> Model:
    """The model with nothing but an embedding as its answer; one that has none gives what its head reads.

    Args:
        unit: what a head reads is brought to length 1.

    Raises:
        InputError: its network has no such place.
        MissingDependencyError: it is no encoder, and onnx is not installed.
    """
    for name, task in model.tasks.items():
        if isinstance(task, embed.Task | cluster.Task | few_shot.Task):
            state = embed.Task(name, task.width).state()
            outputs = {name: model.sealed.outputs[name]}
            return _as_encoder(model, replace(model.sealed, outputs=outputs), name, state)
    network, output, size = with_head_input(model, unit=unit)
    name = embed.UNLABELLED
    sealed = replace(model.sealed, network=network, outputs={name: output})
    return _as_encoder(model, sealed, name, embed.Task(name, size).state())


def _as_encoder(model: Model, sealed: Sealed, name: str, state: Mapping[str, Json]) -> Model:
    tasks = {name: {"task": "embed", "state": dict(state)}}
    return Model(replace(sealed, tasks=tasks), where=model.where)


def with_vectors(model: Model, tell: Callable[[str], None] = lambda line: None) -> Model:
    """The model itself; one that was trained for answers that rows have gives what its head reads.

    Args:
        tell: told of what is taken for vectors, where the model was not trained to give any.

    Raises:
        InputError: it was trained for answers, and its network has no such place.
        MissingDependencyError: it was trained for answers, and onnx is not installed.
    """
    tasks = tuple(model.tasks.values())
    vectors = any(isinstance(task, embed.Task | cluster.Task) for task in tasks)
    # Few-shot models have no head of their own, and forecasters read no rows.
    rows = all(hasattr(task, "scores") and not isinstance(task, few_shot.Task | forecast.Task) for task in tasks)
    if vectors or not rows or model.writer is not None:
        return model
    found = encoder(model, unit=True)
    tell("the model was trained for answers: rows are alike by what its head reads")
    return found


def with_head_input(model: Model, *, unit: bool = False) -> tuple[bytes, str, int]:
    """(The network with what the first target's head reads as its only output, the output's name, its numbers).

    The head is the last product with a matrix on the way to the target; members of an ensemble are put side by side.

    Args:
        unit: each row is brought to length 1.

    Raises:
        InputError: there is no such product, or what it reads is not one vector a row.
        MissingDependencyError: onnx is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingDependencyError("onnx", "Taking embeddings out of a model that was trained for answers", "train")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    found = onnx.load_from_string(model.sealed.network)
    inner = found.graph
    read = _head_input(inner, next(iter(model.sealed.outputs.values())))
    batch, size, order = _axes(inner, read)
    if not 2 <= size <= LARGEST:
        raise InputError(
            "The model gives no embeddings, and its network has no head whose inputs could serve as such.",
            where=model.where,
            fix="Train an encoder: lamina train DATA --task embed",
        )
    output = _free_name(inner)
    inner.node.append(helper.make_node("Transpose", [read], [f"{output}.rows"], perm=order))
    inner.node.append(helper.make_node("Flatten", [f"{output}.rows"], [f"{output}.flat" if unit else output], axis=1))
    if unit:
        inner.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{output}.axis"))
        inner.initializer.append(numpy_helper.from_array(np.array([LEAST_LENGTH], np.float32), f"{output}.least"))
        inner.node.append(helper.make_node("ReduceL2", [f"{output}.flat", f"{output}.axis"], [f"{output}.length"]))
        inner.node.append(helper.make_node("Max", [f"{output}.length", f"{output}.least"], [f"{output}.above"]))
        inner.node.append(helper.make_node("Div", [f"{output}.flat", f"{output}.above"], [output]))
    del inner.output[:]
    inner.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, size]))
    _prune(inner)
    onnx.checker.check_model(found)
    content: bytes = found.SerializeToString(deterministic=True)
    graph.check(content, model.where)
    return content, output, size


def _free_name(inner: onnx.GraphProto) -> str:
    taken = {name for node in inner.node for name in node.output} | {item.name for item in inner.initializer}
    taken |= {value.name for value in inner.input}
    return next(name for name in (OUTPUT + "_" * number for number in range(len(taken) + 1)) if name not in taken)


def _head_input(inner: onnx.GraphProto, output: str) -> str:
    """What the last product before `output` reads; "" where there is none, or the way to it forks."""
    makers = {name: node for node in inner.node for name in node.output}
    alive = {value.name for value in inner.input}
    for node in inner.node:
        if alive & {*node.input, *names_inside(node)}:
            alive |= set(node.output)
    name = output
    while name in makers:
        node = makers[name]
        read = [given for given in dict.fromkeys(node.input) if given in alive]
        if len(read) != 1:
            return ""
        name = str(read[0])
        if node.op_type in HEADS:
            return name
    return ""


def _axes(inner: onnx.GraphProto, name: str) -> tuple[str, int, list[int]]:
    """(The name of the free axis of rows, the numbers of one row, all axes with the rows' first).

    There are no numbers where it is not known that the rows' axis is the only free one.

    Ensembles multiply member by member, so there the rows' axis is the second one.
    """
    rows = inner.output[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*inner.value_info, *inner.input):
        if value.name == name:
            axes = value.type.tensor_type.shape.dim
            free = [place for place, axis in enumerate(axes) if not axis.dim_value]
            if len(free) == 1 and axes[free[0]].dim_param == rows:
                fixed = [place for place in range(len(axes)) if place not in free]
                return rows, math.prod(axes[place].dim_value for place in fixed), [*free, *fixed]
    return rows, 0, []


def _prune(inner: onnx.GraphProto) -> None:
    """Leave out what no output needs any more: other heads, and their weights."""
    needed = {value.name for value in inner.output}
    nodes = []
    for node in reversed(inner.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= {*node.input, *names_inside(node)}
    kept = {
        "node": nodes[::-1],
        "initializer": [tensor for tensor in inner.initializer if tensor.name in needed],
        "value_info": [value for value in inner.value_info if value.name in needed],
    }
    for name, items in kept.items():
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del getattr(inner, name)[:]
        getattr(inner, name).extend(copies)
