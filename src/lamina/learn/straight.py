"""A loss and its gradient as straight-line code: in small networks the calls take more time than the arithmetic.

A loss is recorded once (`recorded`): what remains is a list of tensor operations for the values and the gradients,
without modules and without a graph that is built and torn down at each step. That takes a fraction of a second, where a
compiler would take half a minute. Operations and their order are those of the recorded call; randomness is drawn anew
at each call, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.recorded import CannotRecordError, Code, recorded

Judge = Callable[[Batch], tuple[Loss, Mapping[str, Tensor]]]
"""From a batch to its loss without metrics, and numbers of each example by name, [row] (such as its error)."""

MOST_CALLS = 2000
"""Of operations in straight-line code: beyond that (long recurrences), PyTorch's own loops are no slower."""


class Straight:
    """A loss with its gradient for some weights and no others.

    Args:
        judge: a function of the batch and of the weights in `modules`; it may draw from PyTorch's generator.
        modules: all whose weights the loss reads.
        learned: the weights that get a gradient, as far as they are not frozen.

    Attributes:
        codes: by the shapes of the batch: straight-line code, or None where the loss cannot be recorded (as it looks at
            values to decide what to do): then it is called as it is.
    """

    def __init__(self, judge: Judge, modules: Sequence[nn.Module], learned: Sequence[nn.Parameter]) -> None:
        self.judge, self.learned = judge, [weight for weight in learned if weight.requires_grad]
        self.codes: dict[object, _Traced | None] = {}
        self._holder = nn.ModuleList(modules)
        self._tensors = {**dict(self._holder.named_parameters()), **dict(self._holder.named_buffers())}
        # The same memory, but nothing to take gradients of: code that has them written out needs no other.
        self._values = tuple(tensor.detach() for tensor in self._tensors.values())
        wanted = [id(weight) for weight in self.learned]
        self._names = [name for name, tensor in self._tensors.items() if id(tensor) in wanted]
        if [id(self._tensors[name]) for name in self._names] != wanted:
            raise ValueError("the learned weights must be among the modules', in their order")

    def __call__(self, batch: Batch) -> tuple[Loss, Mapping[str, Tensor]]:
        """The loss, whose gradient reaches the learned weights only; and the examples' numbers, without gradient."""
        code = self._code(batch)
        if code is None:
            return self.as_it_is(batch)
        arrays = (*self._values, *_flat(batch))
        if torch.is_autocast_enabled(batch.rows.device.type):
            # Mixed precision is written out in the code already.
            with torch.autocast(batch.rows.device.type, enabled=False):
                total, weight, each, gradients = code(arrays)
        else:
            total, weight, each, gradients = code(arrays)
        # A path of the gradient through each weight would take PyTorch longer than all the arithmetic.
        return Loss(total, weight, {}, code.decomposes, (self.learned, gradients)), each

    def as_it_is(self, batch: Batch) -> tuple[Loss, Mapping[str, Tensor]]:
        """The same but for rounding, without straight-line code."""
        loss, each = self.judge(batch)
        gradients = torch.autograd.grad(loss.sum, self.learned, materialize_grads=True)
        kept = {name: value.detach() for name, value in each.items()}
        return Loss(loss.sum.detach(), loss.weight, {}, loss.decomposes, (self.learned, gradients)), kept

    def descend(
        self, batch: Batch, engine: Engine, optimizers: Sequence[Optimizer]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step of `optimizers` through the engine; its metrics, and the examples' numbers by name, [row]."""
        found: list[Mapping[str, Tensor]] = []

        def loss(part: Batch) -> Loss:
            judged, each = self(part)
            found.append(each)
            return judged

        metrics = engine.descend(loss, batch, optimizers)
        if len(found) == 1:
            return metrics, dict(found[0])
        # Only the last parts count, if the engine had to begin anew with smaller ones.
        return metrics, {name: torch.cat([each[name] for each in found])[-len(batch) :] for name in found[0]}

    def _code(self, batch: Batch) -> _Traced | None:
        device = batch.rows.device
        key = (torch.is_autocast_enabled(device.type), *(tensor.shape for tensor in _flat(batch)))
        if key not in self.codes:
            self.codes[key] = self._trace(batch)
        return self.codes[key]

    def _trace(self, batch: Batch) -> _Traced | None:
        made: list[tuple[Loss, Mapping[str, Tensor]]] = []
        calls = _Calls(self._holder, self.judge)

        def call(*arrays: Tensor) -> tuple[Tensor, ...]:
            weights = dict(zip(self._tensors, arrays, strict=False))
            again = _like(batch, arrays[len(weights) :])
            loss, each = torch.func.functional_call(calls, _held(weights), (again,))
            leaves = [weights[name] for name in self._names]
            gradients = torch.autograd.grad(loss.sum, leaves, materialize_grads=True)
            made.append((loss, each))
            return loss.sum.detach(), loss.weight, *(value.detach() for value in each.values()), *gradients

        learned = set(self._names)
        # Leaves of their own, so that only the learned ones take part in the gradient.
        weights = [value.detach().requires_grad_(name in learned) for name, value in self._tensors.items()]
        code = straightened(call, [*weights, *_flat(batch)])
        if code is None:
            return None
        loss, each = made[0]
        return _Traced(code, tuple(each), loss.decomposes)


@dataclass(frozen=True)
class _Traced:
    code: Code
    names: tuple[str, ...]
    decomposes: bool

    def __call__(self, arrays: Sequence[Tensor]) -> tuple[Tensor, Tensor, Mapping[str, Tensor], Sequence[Tensor]]:
        """Sum, weight, the examples' numbers, gradients."""
        total, weight, *others = self.code(*arrays)
        number = len(self.names)
        return total, weight, dict(zip(self.names, others[:number], strict=True)), others[number:]


class _Calls(nn.Module):
    """A function as a module, so that PyTorch can put other tensors in the place of its weights."""

    def __init__(self, holder: nn.ModuleList, function: Callable[..., Any]) -> None:
        super().__init__()
        self.holder, self.function = holder, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _held(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"holder.{name}": value for name, value in weights.items()}


def straight_forward(module: nn.Module, read: Code, arrays: Sequence[Tensor]) -> Code:
    """`read(*arrays)`, a function of the weights in `module`, as straight-line code without gradient, if possible.

    The code is for arrays of these shapes; the weights are read anew at each call.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    calls = _Calls(nn.ModuleList([module]), read)

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        weights = {f"0.{name}": value for name, value in zip(tensors, given, strict=False)}
        found: tuple[Tensor, ...] = torch.func.functional_call(calls, _held(weights), given[len(tensors) :])
        return found

    with torch.no_grad():
        code = straightened(call, [*(value.detach() for value in tensors.values()), *arrays])
    values = tuple(tensors.values())
    return read if code is None else lambda *given: code(*values, *given)


def straightened(function: Code, arrays: Sequence[Tensor]) -> Code | None:
    """`function` as straight-line code for arrays of these shapes; None where that cannot be or gives other answers."""
    device = arrays[0].device
    # Each call here draws the same random numbers, and none for whoever comes next: a resumed run traces at another
    # time than the first one did.
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            code, expected = recorded(function, arrays, MOST_CALLS)
    except CannotRecordError:
        return None
    try:
        with torch.random.fork_rng(devices):
            found = code(*arrays)
    except TypeError:
        # One of PyTorch's own functions takes other arguments than the dispatcher does.
        return None
    return code if all(map(_close, found, expected)) else None


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-2, atol=1e-4, equal_nan=True)


def _flat(batch: Batch) -> list[Tensor]:
    weight = [] if batch.weight is None else [batch.weight]
    return [batch.rows, *batch.inputs.values(), *batch.targets.values(), *weight]


def _like(batch: Batch, arrays: Sequence[Tensor]) -> Batch:
    """A batch of these arrays, in the order of `_flat`."""
    rows, *rest = arrays
    inputs = dict(zip(batch.inputs, rest, strict=False))
    targets = dict(zip(batch.targets, rest[len(inputs) :], strict=False))
    return Batch(rows, inputs, targets, None if batch.weight is None else rest[-1])
