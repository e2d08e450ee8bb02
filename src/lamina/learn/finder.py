"""The learning-rate finder: raise the rate from tiny to huge within some steps and see where the loss falls fastest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from lamina.learn import checkpoint
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine, NonFiniteLossError

CLEAR = 7.0
"""Median steps of the smoothed curve that it must fall by: about twice the deviation that noise leaves in it."""


class Learns(Protocol):
    """What the finder needs of a method."""

    optimizers: list[Optimizer]

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Batches(Protocol):
    """What it needs of a source."""

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]: ...


def find_rate(
    method: Learns, source: Batches, engine: Engine, *, low: float = 1e-6, high: float = 1.0, steps: int = 80
) -> tuple[float | None, list[tuple[float, float]]]:
    """The highest learning rate worth using, by the range test (Smith 2017).

    The rate rises exponentially from `low` to `high`; the result is a third of the rate at which the smoothed
    loss is lowest, but not below the rate at which it falls most steeply. Method and random generators are put back
    as they were.

    Returns:
        (rate, [(rate, smoothed loss), ...]); the curve ends where the loss diverges. The rate is None where the loss
        did not clearly fall, as with noisy batches that tell little.
    """
    tensors, document = checkpoint.pack({"method": method.state(), "random": checkpoint.random_state()})
    factors = [[group["initial_lr"] for group in optimizer.param_groups] for optimizer in method.optimizers]
    top = max(max(row) for row in factors)
    curve: list[tuple[float, float]] = []
    smoothed = 0.0
    for number, (_, batch) in zip(range(steps), source.batches(0), strict=False):
        rate = low * (high / low) ** (number / (steps - 1))
        for optimizer, row in zip(method.optimizers, factors, strict=True):
            for group, initial in zip(optimizer.param_groups, row, strict=True):
                group["lr"] = rate * initial / top
        try:
            loss = float(method.update(batch, engine)["loss"])
        except NonFiniteLossError:
            break
        smoothed = 0.9 * smoothed + 0.1 * loss
        value = smoothed / (1 - 0.9 ** (number + 1))
        curve.append((rate, value))
        if number > steps // 5 and value > 4 * abs(min(loss for _, loss in curve)) + 1e-6:
            break
    saved = checkpoint.unpack(tensors, document)
    method.restore(saved["method"])
    checkpoint.restore_random_state(saved["random"])
    return choose(curve), curve


def choose(curve: list[tuple[float, float]]) -> float | None:
    """A rate from a range test's curve [(rate, smoothed loss), ...]; None if the curve says nothing."""
    if len(curve) < 10:
        return None
    lowest = min(range(len(curve)), key=lambda number: curve[number][1])
    # The first rates are too low to change anything: what the loss does there is noise.
    first = len(curve) // 5
    noise = statistics.median(abs(later[1] - one[1]) for one, later in pairwise(curve[first:]))
    if lowest <= first or curve[first][1] - curve[lowest][1] <= CLEAR * noise:
        return None
    slopes = [
        (curve[number + 1][1] - curve[number - 1][1]) / math.log(curve[number + 1][0] / curve[number - 1][0])
        for number in range(1, max(lowest, 2))
    ]
    steepest = 1 + min(range(len(slopes)), key=lambda number: slopes[number])
    return max(curve[steepest][0], curve[lowest][0] / 3)
