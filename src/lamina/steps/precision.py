"""Whether bf16 is faster than fp32 and learns the same, found by steps that are really taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Literal, Protocol

import torch

from lamina.choose import hardware
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.finder import Batches
from lamina.learn.schedules import Schedule
from lamina.plan import Plan
from lamina.steps.trial import Tried, trial

Precision = Literal["fp32", "bf16"]
CLEARLY_FASTER = 1.1
SAME_LOSS = 0.03
"""So far apart may a step's losses in bf16 and in fp32 be, relatively; bf16 has 8 bits of precision."""
UPDATES = 5
"""Steps whose losses are compared."""
COMPARED = 4.0
"""Seconds that they may take in fp32; where a step is slow there are fewer, but two at least: the first loss knows
nothing of bf16 gradients."""


class Precise(Tried, Protocol):
    """What learns in either precision."""

    engine: Engine

    @property
    def source(self) -> Batches: ...

    def steps_in(self, epochs: float) -> int: ...


def precision_for(
    learner: Precise,
    plan: Plan,
    machine: hardware.Hardware,
    fixed: Collection[str],
    step: Callable[[], None],
    pace: float,
) -> tuple[Precision, float, dict[str, str]]:
    """(The precision, which the engine then has; seconds a step; reasons): bf16 where it is clearly faster and the
    losses of the first updates agree with those in fp32, as far as the plan leaves it open.

    Args:
        fixed: settings that are not to be decided here.
        step: takes a step with the learner's engine.
        pace: seconds a step in the plan's precision.
    """
    precision = plan.training.precision
    if precision == "bf16" or "training.precision" in fixed or not machine.fast_bf16:
        return precision, pace, {}
    count = max(2, min(UPDATES, int(COMPARED / max(pace, 1e-9))))
    schedule = Schedule.over(learner.steps_in(plan.training.epochs), plan.schedule)
    exact, rounded = (losses(learner, schedule, kind, count) for kind in ("fp32", "bf16"))
    learner.engine.precision = "bf16"
    faster = hardware.seconds_per_call(step, calls=7, most=4.0)
    gain, apart = pace / faster, furthest(exact, rounded)
    told = f"losses that differ by {apart:.1%} at most" if math.isfinite(apart) else "losses that are no numbers"
    found = f"bf16 has {gain:.1f} times the pace of fp32 here, and in {count} updates {told}"
    if gain >= CLEARLY_FASTER and apart <= SAME_LOSS:
        return "bf16", faster, {"training.precision": f"bf16, measured: {found}"}
    learner.engine.precision = "fp32"
    return "fp32", pace, {"training.precision": f"fp32, measured: {found}"}


def losses(learner: Precise, schedule: Schedule, precision: Precision, count: int) -> list[float]:
    """The losses of the first `count` updates as training would take them; the learner is afterwards as it was.

    From the same weights, on the same batches, with the same draws of dropout and augmentation, whatever the precision.
    They end where one is no number.
    """
    engine, found = learner.engine, list[float]()
    before, engine.precision = engine.precision, precision
    with trial(learner):
        torch.manual_seed(0)
        batches = learner.source.batches(0)
        try:
            for number in range(count):
                schedule.apply(number, learner.method.optimizers)
                _, batch = next(batches)
                found.append(float(learner.method.update(batch, engine)["loss"]))
        except NonFiniteLossError:
            found.append(math.nan)
    engine.precision = before
    return found


def furthest(exact: list[float], rounded: list[float]) -> float:
    """The largest relative difference of losses, each to its own size or the usual one, where that is larger: the
    losses of two networks that learn against each other go through 0. Infinite where one is no number.

    >>> furthest([1.0, 0.5], [1.01, 0.5])
    0.01
    """
    if len(exact) != len(rounded) or not all(map(math.isfinite, (*exact, *rounded))):
        return math.inf
    usual = max(sum(map(abs, exact)) / len(exact), 1e-6)
    apart = max(abs(one - other) / max(abs(one), usual) for one, other in zip(exact, rounded, strict=True))
    return round(apart, 6)
