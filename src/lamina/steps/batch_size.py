"""How many examples a step learns from: fewer where memory would not hold them, more where a GPU has room and time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Protocol

import torch

from lamina.choose import hardware
from lamina.choose.training import STEPS_AN_EPOCH
from lamina.learn.engine import Engine
from lamina.plan import OptimizerPlan, Plan
from lamina.steps.trial import Tried

FULL = 0.8
"""Share of the memory that steps may take."""
CLEARLY_FASTER = 1.1
"""Times the examples a second that a batch twice as large must have."""
MOST_TIMES = 8
"""Times the usual batch at most: the rule for the rate holds near it."""
LEAST_STEPS = 2_000
"""Steps of the whole training that larger batches leave: with fewer the examples are seen, but little is learned."""
LEAST_BATCH = 8
LINEAR = ("sgd", "nesterov")
"""Optimizers whose rate follows the batch in proportion (Goyal et al. 2017, "Accurate, large minibatch SGD"). That of
Adam and its like follows by the square root (Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient
algorithms")."""


class Batched(Tried, Protocol):
    """What learns from batches of a size that can be changed: its source is a dataclass with a `batch_size`."""

    engine: Engine
    source: Any


def bearable(
    learner: Batched, plan: Plan, fixed: Collection[str], step: Callable[[], None]
) -> tuple[Plan, dict[str, str]]:
    """(The plan with a batch that the processor's memory holds, as far as the plan leaves it open; reasons).

    What an example takes is told by two steps with small batches: one with too large a batch would end the process.

    Args:
        step: takes a step with the learner's engine and source.
    """
    size = learner.source.batch_size
    small, larger = size // 8, size // 4
    if not _open(learner, fixed) or learner.engine.device.type != "cpu" or small < 2:
        return plan, {}
    used = []
    for few in (small, larger):
        _resize(learner, few)
        step()
        used.append(hardware.own_memory())
    each, free = max(used[1] - used[0], 0) / (larger - small), FULL * hardware.free_memory()
    wanted = size
    while size // 2 >= LEAST_BATCH and each * (size - larger) > free:
        size //= 2
    _resize(learner, size)
    if size == wanted:
        return plan, {}
    why = f"{size}: {wanted} would take about {each * wanted / 2**30:.1f} GiB, more than memory has room for"
    return _with_batch(plan, size, size / wanted, fixed), {"training.batch_size": why}


def largest_useful(
    learner: Batched, plan: Plan, fixed: Collection[str], step: Callable[[], None], pace: float
) -> tuple[Plan, float, dict[str, str]]:
    """(The plan with the largest batch that a GPU learns clearly faster from, as far as it is open; seconds a step;
    reasons).

    Doubled while examples a second clearly rise, memory has room, and enough steps are left. On a processor the usual
    batch stays: larger ones have nearly the same pace there, and learn less in it.

    Args:
        step: takes a step with the learner's engine and source.
        pace: seconds a step.
    """
    engine, usual = learner.engine, learner.source.batch_size
    # A rate that was asked for belongs to the usual batch.
    if engine.device.type == "cpu" or not _open(learner, fixed) or "optimizer.learning_rate" in fixed:
        return plan, pace, {}
    rows, parts = len(learner.source.rows), engine.accumulation
    size, before = usual, usual / pace
    first = before
    while size < MOST_TIMES * usual and _enough_steps(rows, 2 * size, plan.training.epochs):
        _resize(learner, 2 * size)
        hardware.forget_peak(engine.device)
        try:
            seconds = hardware.seconds_per_call(step, calls=5, most=2.0)
        except torch.OutOfMemoryError:
            break
        # The engine cuts a batch that memory does not hold into parts.
        if engine.accumulation != parts or hardware.peak_share(engine.device) > FULL:
            break
        if 2 * size / seconds <= CLEARLY_FASTER * before:
            break
        size, pace, before = 2 * size, seconds, 2 * size / seconds
    engine.accumulation = parts
    _resize(learner, size)
    if size == usual:
        return plan, pace, {}
    found = _with_batch(plan, size, size / usual, fixed)
    rate = found.optimizer.learning_rate
    law = "in proportion (Goyal et al. 2017)" if _linear(plan.optimizer) else "by the square root (Malladi et al. 2022)"
    return found, pace, {
        "training.batch_size": f"{size}: measured, with {before / first:.1f} times the examples a second of {usual}",
        "optimizer.learning_rate": f"{rate:g}: it follows the larger batch {law}",
    }  # fmt: skip


def _open(learner: Batched, fixed: Collection[str]) -> bool:
    source = learner.source
    return "training.batch_size" not in fixed and dataclasses.is_dataclass(source) and hasattr(source, "batch_size")


def _resize(learner: Batched, size: int) -> None:
    learner.source = replace(learner.source, batch_size=size)


def _enough_steps(rows: int, size: int, epochs: float) -> bool:
    return rows / size >= STEPS_AN_EPOCH and epochs * rows / size >= LEAST_STEPS


def _linear(optimizer: OptimizerPlan) -> bool:
    return optimizer.name in LINEAR


def _with_batch(plan: Plan, size: int, times: float, fixed: Collection[str]) -> Plan:
    """The plan with a batch so many times as large, and the rate that goes with it."""
    plan = replace(plan, training=replace(plan.training, batch_size=size))
    if "optimizer.learning_rate" in fixed:
        return plan
    rate = plan.optimizer.learning_rate * (times if _linear(plan.optimizer) else times**0.5)
    return replace(plan, optimizer=replace(plan.optimizer, learning_rate=float(f"{rate:.2g}")))
