"""From the trained network to ONNX bytes that hold nothing but the network (training side; needs PyTorch)."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamina.ahead import uncollected, whole_torch
from lamina.errors import LaminaError
from lamina.model import graph, lengths
from lamina.model.quick_export import operators_read_once, traced_once

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

    from lamina.modalities import Feature
    from lamina.tasks import Answering

OPSET = 18


@dataclass(frozen=True)
class Exported:
    """The network as ONNX bytes, and how its inputs and outputs are called in there."""

    network: bytes
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def export(assembly: nn.Module, features: Mapping[str, Feature], tasks: Mapping[str, Answering]) -> Exported:
    """Export `assembly` with each task's `combine` at its end.

    The graph's inputs are the encoded arrays [batch, *feature.shape] in their own dtypes, its outputs
    [batch, width] float32, one for each target. Where the networks allow it, tokens may come in any number from
    `lengths.LEAST` on. The assembly itself is left as it was.

    Raises:
        LaminaError: the network cannot be exported, or fixes the batch size.
    """
    import torch

    inputs = {name: _safe("input", number, name) for number, name in enumerate(features)}
    outputs = {name: _safe("output", number, name) for number, name in enumerate(tasks)}
    network = _sealable(assembly, tuple(features), tasks)
    # Two rows: some exporters treat one row as a fixed size.
    examples = tuple(
        torch.zeros((2, *feature.shape), dtype=getattr(torch, feature.dtype)) for feature in features.values()
    )
    free = tuple(name for name, feature in features.items() if feature.kind == "tokens")
    arguments = (examples, tuple(inputs.values()), tuple(outputs.values()))
    try:
        model = _exported(network, free_axes(features, free), *arguments)
    except LaminaError:
        if not free:
            raise
        # A network that counts on the full length is exported with it.
        model = _exported(network, free_axes(features), *arguments)
    _check_axes(model, inputs, outputs)
    return Exported(_checked(model), inputs, outputs)


def graph_of(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    axes: tuple[Mapping[int, Any], ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> bytes:
    """Any module as ONNX bytes, for graphs that do not go from encoded inputs to answers.

    Args:
        examples: its positional inputs.
        axes: of each input, those that may have any length.
        inputs, outputs: names.

    Raises:
        LaminaError: the module cannot be exported.
    """
    return _checked(_exported(module, axes, examples, inputs, outputs))


def _exported(
    module: nn.Module,
    axes: tuple[Mapping[int, Any], ...],
    examples: tuple[Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> onnx.ModelProto:
    """Arguments as of `graph_of`."""
    import torch

    with uncollected():
        whole_torch()
        # The exporter would import them itself.
        import onnxscript  # noqa: F401
        import torch._dynamo
    refused = (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.TorchDynamoException, RuntimeError)
    with _quiet(), operators_read_once(), traced_once(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module, examples, dynamic_shapes=(axes,), dynamo=True, opset_version=OPSET, input_names=list(inputs),
                output_names=list(outputs), optimize=True, verbose=False, external_data=False,
            )  # fmt: skip
        except refused as error:
            raise LaminaError(
                f"The network cannot be exported to ONNX: {_first_line(error)}",
                fix="Use only operations that torch.onnx.export(dynamo=True) knows, with a free batch axis.",
            ) from error
    assert program is not None
    model = program.model_proto
    _clean(model)
    return model


def _checked(model: onnx.ModelProto) -> bytes:
    """The bytes of a graph that ONNX's checker and ours accept."""
    import onnx

    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    graph.check(content, "the exported network")
    return content


def free_axes(features: Mapping[str, Feature], free: tuple[str, ...] = ()) -> tuple[dict[int, Any], ...]:
    """The axes of each input that may have any length: the rows, and of the fields in `free` the tokens."""
    from torch.export import Dim

    batch, found = Dim("batch"), []
    for number, (name, feature) in enumerate(features.items()):
        axes: dict[int, Any] = {0: batch}
        if name in free and feature.shape[0] > lengths.LEAST:
            axes[1] = Dim(f"tokens_{number}", min=lengths.LEAST, max=feature.shape[0])
        found.append(axes)
    return tuple(found)


def _safe(kind: str, number: int, name: str) -> str:
    """A name that every ONNX tool takes; the number keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:40]
    return f"{kind}_{number}_{plain}" if plain else f"{kind}_{number}"


def folded(module: nn.Module) -> nn.Module:
    """`module` with every part that has a `folded()` replaced by what that gives: same answers, fewer operations.

    No part changes its input any more: that would have to be traced anew (`lamina.model.quick_export`).
    """
    if getattr(module, "inplace", False):
        module.inplace = False  # type: ignore[assignment]
    for name, child in list(module.named_children()):
        setattr(module, name, child.folded() if hasattr(child, "folded") else folded(child))  # type: ignore[operator]
    return module


def _sealable(assembly: nn.Module, fields: tuple[str, ...], tasks: Mapping[str, Answering]) -> nn.Module:
    import torch

    class Sealable(torch.nn.Module):
        """Positional inputs to positional outputs, members combined."""

        def __init__(self) -> None:
            super().__init__()
            self.assembly = folded(copy.deepcopy(assembly).cpu().float().eval())

        def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
            answers = self.assembly(dict(zip(fields, arrays, strict=True)))
            return tuple(task.combine(answers[name]).float() for name, task in tasks.items())

    return Sealable().eval()


def _clean(model: onnx.ModelProto) -> None:
    """Drop what the exporter remembers of this machine: stack traces hold paths, and differ by machine."""
    graphs = [model.graph, *_graphs(model.graph)]
    items: list[Any] = [model, *graphs]
    for part in graphs:
        items += [*part.node, *part.initializer, *part.input, *part.output, *part.value_info]
    for item in items:
        del item.metadata_props[:]
        item.doc_string = ""


def _graphs(outer: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in outer.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from _graphs(inner)


def _check_axes(model: onnx.ModelProto, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    names = {safe: name for name, safe in (*inputs.items(), *outputs.items())}
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if not axes or not axes[0].dim_param:
            raise LaminaError(
                f"The exported network fixes the batch size of {names.get(value.name, value.name)!r}.",
                fix="Use the input's own batch size in the network, never a constant.",
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports progress, missing optional libraries and its own deprecations: not the user's concern."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch._dynamo", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    cause: Any = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
