"""Whether bf16 is faster than fp32 and learns the same, found by steps that are really taken."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Collection
from typing import Literal, Protocol

import torch

from lamina.choose import hardware
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.finder import Batches
from lamina.learn.schedules import Schedule
from lamina.plan import Plan
from lamina.steps.known import Paces
from lamina.steps.trial import ENOUGH, Tried, holds, nowhere, trial

Precision = Literal["fp32", "bf16"]
CLEARLY_FASTER = 1.1
SAME_LOSS = 0.03
"""So far apart may a step's losses in bf16 and in fp32 be, relatively; bf16 has 8 bits of precision."""
NO_NUMBER = 1e9
"""How far apart losses are called of which one is no number; what is kept of it is JSON, which knows no infinity."""
TURNS, MOST_SECONDS = 3, 6.0
"""How often steps in the two are timed by turns, and the seconds after which no further turn begins."""
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
    earlier: Paces | None = None,
    again: Callable[[int], None] = nowhere,
) -> tuple[Precision, float, dict[str, str], Paces]:
    """(The precision, which the engine then has; seconds a step; reasons; what was found): bf16 where it is clearly
    faster and the losses of the first updates agree with those in fp32, as far as the plan leaves it open.

    Args:
        fixed: settings that are not to be decided here.
        earlier: what an earlier run found; it is taken where a step in each agrees with it.
        step: takes a step with the learner's engine.
        pace: about what a step takes in fp32, in seconds.
        again: has the next step be on the batch of a number.
    """
    if not is_open(plan, machine, fixed):
        return plan.training.precision, pace, {}, Paces({})
    if earlier is not None and earlier.gain:
        learner.engine.precision = "bf16"
        again(0)
        faster = hardware.seconds_per_call(step, calls=5, most=ENOUGH)
        if _still(pace / faster, earlier) or _still(_gain(learner, step, again), earlier):
            # It took more steps than these, so its figure is the better one.
            return *as_found(learner, earlier, pace), earlier
    count = max(2, min(UPDATES, int(COMPARED / max(pace, 1e-9))))
    schedule = Schedule.over(learner.steps_in(plan.training.epochs), plan.schedule)
    exact, rounded = (losses(learner, schedule, kind, count) for kind in ("fp32", "bf16"))
    found = Paces({}, _gain(learner, step, again), furthest(exact, rounded))
    why = f"bf16 has {found.gain:.1f} times the pace of fp32 here, and in {count} updates"
    return *_decided(learner, pace, found, why), found


def is_open(plan: Plan, machine: hardware.Hardware, fixed: Collection[str]) -> bool:
    """Is the precision to be found out?"""
    return machine.fast_bf16 and plan.training.precision == "fp32" and "training.precision" not in fixed


def as_found(learner: Precise, earlier: Paces, pace: float) -> tuple[Precision, float, dict[str, str]]:
    """(The precision that an earlier run found best, which the engine then has; seconds a step; reasons).

    Args:
        pace: seconds a step in fp32.
    """
    why = f"bf16 has {earlier.gain:.1f} times the pace of fp32 here, as an earlier run found, and"
    return _decided(learner, pace, earlier, why)


def _still(gain: float, earlier: Paces) -> bool:
    """Is what an earlier run found faster, bf16 or fp32, still so?"""
    return holds(gain, earlier.gain) if earlier.gain >= CLEARLY_FASTER else holds(1 / gain, 1 / earlier.gain)


def _gain(learner: Precise, step: Callable[[], None], again: Callable[[int], None]) -> float:
    """The pace in bf16 as a multiple of that in fp32, by turns on the same batches: what slows the machine for a while
    slows both. Steps in both have just been taken, so none is needed to warm up.
    """
    times: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    begin = time.perf_counter()
    for turn in range(TURNS):
        for precision, taken in times.items():
            learner.engine.precision = precision
            again(turn)
            taken.append(hardware.seconds_per_call(step, calls=1, warm=True))
        if time.perf_counter() - begin > MOST_SECONDS:
            break
    return statistics.median(slow / fast for slow, fast in zip(times["fp32"], times["bf16"], strict=True))


def _decided(learner: Precise, pace: float, found: Paces, why: str) -> tuple[Precision, float, dict[str, str]]:
    """(The precision, which the engine then has; seconds a step; reasons); `pace` is that of a step in fp32."""
    better = found.gain >= CLEARLY_FASTER and found.apart <= SAME_LOSS
    learner.engine.precision = "bf16" if better else "fp32"
    told = f"that differ by {found.apart:.1%} at most" if found.apart < NO_NUMBER else "that are no numbers"
    reasons = {"training.precision": f"{learner.engine.precision}, measured: {why} losses {told}"}
    return learner.engine.precision, pace / found.gain if better else pace, reasons


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
    losses of two networks that learn against each other go through 0. NO_NUMBER where one is none.

    >>> furthest([1.0, 0.5], [1.01, 0.5])
    0.01
    """
    if len(exact) != len(rounded) or not all(map(math.isfinite, (*exact, *rounded))):
        return NO_NUMBER
    usual = max(sum(map(abs, exact)) / len(exact), 1e-6)
    apart = max(abs(one - other) / max(abs(one), usual) for one, other in zip(exact, rounded, strict=True))
    return round(apart, 6)
