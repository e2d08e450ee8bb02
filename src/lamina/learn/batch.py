"""What flows through the loop: batches in, losses out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Encoded examples.

    Attributes:
        rows: int64 [batch], each example's row in its table: to name the rows of a bad batch.
        inputs: encoded inputs by field name, [batch, ...].
        targets: encoded targets by target name, [batch] or [batch, width].
        weight: float32 [batch] or None: how much each example counts.
    """

    rows: Tensor
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Loss:
    """A loss as (sum, weight): accumulation, masking and several processes normalise it once, the same way.

    Attributes:
        sum: the weighted sum of the examples' losses, a scalar with gradient.
        weight: the sum of the weights (often the number of examples), a scalar.
        metrics: what to log, scalars without gradient.
        decomposes: False if the loss is no sum over examples; the engine then refuses accumulation.
    """

    sum: Tensor
    weight: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    decomposes: bool = True


class Source(Protocol):
    """Anything that gives batches and can be stopped and resumed exactly."""

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from step `start`, for ever."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
