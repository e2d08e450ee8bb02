"""The learning-rate finder: raise the rate from tiny to huge within some steps and see where the loss falls fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from lamina.learn import checkpoint
from lamina.learn.batch import Batch, Source
from lamina.learn.engine import Engine, NonFiniteLossError


class Learns(Protocol):
    """What the finder needs of a method."""

    optimizers: list[Optimizer]

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def find_rate(
    method: Learns, source: Source, engine: Engine, *, low: float = 1e-6, high: float = 1.0, steps: int = 80
) -> tuple[float, list[tuple[float, float]]]:
    """The highest learning rate worth using, by the range test (Smith 2017).

    The rate rises exponentially from `low` to `high`; the result is a third of the rate at which the smoothed
    loss is lowest, but not below the rate at which it falls most steeply. Method and random generators are put back
    as they were.

    Returns:
        (rate, [(rate, smoothed loss), ...]); the curve ends where the loss diverges.
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


def choose(curve: list[tuple[float, float]]) -> float:
    """A rate from a range test's curve [(rate, smoothed loss), ...]; 1e-3 if the curve says nothing."""
    if len(curve) < 10:
        return 1e-3
    lowest = min(range(len(curve)), key=lambda number: curve[number][1])
    slopes = [
        (curve[number + 1][1] - curve[number - 1][1]) / math.log(curve[number + 1][0] / curve[number - 1][0])
        for number in range(1, max(lowest, 2))
    ]
    steepest = 1 + min(range(len(slopes)), key=lambda number: slopes[number])
    return max(curve[steepest][0], curve[lowest][0] / 3)
