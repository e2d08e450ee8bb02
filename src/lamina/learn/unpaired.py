"""Batches of two sets of examples that have nothing to do with each other, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lamina.learn.batch import Batch
from lamina.learn.loader import Loader

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Unpaired:
    """Examples of two loaders with one input each, of the same batch size and different seeds.

    Attributes:
        first, second: the loaders; the smaller set begins anew while the larger one is gone through.
        names: what their examples are called in a batch.
    """

    pure: ClassVar[bool] = True

    first: Loader
    second: Loader
    names: tuple[str, str]

    @property
    def rows(self) -> Array:
        """Those of both."""
        return np.concatenate([self.first.rows, self.second.rows])

    @property
    def batch_size(self) -> int:
        return self.first.batch_size

    @property
    def steps(self) -> int:
        """Batches that go through the larger set once."""
        return max(self.first.steps, self.second.steps)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; `rows` are those of the first set."""
        for (step, one), (_, other) in zip(self.first.batches(start), self.second.batches(start), strict=True):
            values = (next(iter(part.inputs.values())) for part in (one, other))
            yield step, Batch(one.rows, dict(zip(self.names, values, strict=True)))

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seeds and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None
