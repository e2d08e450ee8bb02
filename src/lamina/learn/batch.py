"""What flows through the loop: batches in, losses out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Encoded examples.

    Attributes:
        rows: int64 [batch], each example's row in its table: to name the rows of a bad batch.
        inputs: encoded inputs by field name, [batch, ...].
        targets: encoded targets by target name, [batch] or [batch, width].
        weight: float32 [batch] or None: how much each example counts.
        other: a second target of each example, where inputs are blends of two (mixup, cutmix).
        share: float32 [batch], the first target's share in the blend.
        whole: the batch that this is a part of, for losses that normalise over all of it.
    """

    rows: Tensor
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None
    other: Mapping[str, Tensor] | None = None
    share: Tensor | None = None
    whole: Batch | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, number: int) -> Iterator[Batch]:
        """The batch cut into `number` parts (fewer if it has fewer examples) of nearly equal size."""
        number = min(number, len(self))
        if number <= 1:
            yield self
            return
        for place in range(number):
            yield self.part(len(self) * place // number, len(self) * (place + 1) // number)

    def part(self, start: int, end: int) -> Batch:
        """The examples from `start` to before `end`."""
        return self._map(lambda tensor: tensor[start:end], self.all)

    @property
    def all(self) -> Batch:
        """The batch that this is a part of, or itself."""
        return self if self.whole is None else self.whole

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`; what it is a part of stays where it is."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True), self.whole)

    def pinned(self) -> Batch:
        """The batch in memory that an accelerator copies from by itself."""
        return self._map(lambda tensor: tensor.pin_memory(), self.whole)

    @property
    def bytes(self) -> int:
        """Of its inputs and targets."""
        return sum(tensor.nbytes for tensor in (*self.inputs.values(), *self.targets.values()))

    def _map(self, change: Callable[[Tensor], Tensor], whole: Batch | None) -> Batch:
        def every(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: change(tensor) for name, tensor in tensors.items()}

        return Batch(
            rows=change(self.rows),
            inputs=every(self.inputs),
            targets=every(self.targets),
            weight=None if self.weight is None else change(self.weight),
            other=None if self.other is None else every(self.other),
            share=None if self.share is None else change(self.share),
            whole=whole,
        )


@dataclass(frozen=True)
class Loss:
    """A loss as (sum, weight): accumulation, masking and several processes normalise it once, the same way.

    Attributes:
        sum: the weighted sum of the examples' losses, a scalar with gradient.
        weight: the sum of the weights (often the number of examples), a scalar.
        metrics: what to log, scalars without gradient.
        decomposes: False if the loss is no sum over examples; the engine then refuses accumulation.
        gradients: (weights, the gradient of `sum` for each), where they are known already: there is then no graph to
            go back through.
    """

    sum: Tensor
    weight: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    decomposes: bool = True
    gradients: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None

    def backward(self, mean: bool = True) -> None:
        """Add the gradient of the mean, or of the sum, to those of the weights."""
        if self.gradients is None:
            (self.sum / self.weight if mean else self.sum).backward()  # type: ignore[no-untyped-call]
            return
        weights, found = self.gradients
        scaled = torch._foreach_div(list(found), self.weight) if mean else found
        for weight, gradient in zip(weights, scaled, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad + gradient


class Source(Protocol):
    """Anything that gives batches and can be stopped and resumed exactly.

    Where every batch follows from the seed and the step alone, so that it may be made ahead of time and by another
    thread (`lamina.learn.prefetch`), a source says so with an attribute `pure = True`.
    """

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from step `start`, for ever."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
