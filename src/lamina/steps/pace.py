"""How much time there is, with how many threads and in what precision steps are fastest, and how many passes fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.learn.engine import Engine
from lamina.learn.finder import Batches, find_rate
from lamina.plan import Plan, TrainingPlan
from lamina.steps.precision import precision_for
from lamina.steps.trial import Tried, trial

TEST_SHARE = 0.05
"""The least share of the budget that is kept for the fifth step, besides a fixed time for sealing."""
SEALING_SECONDS = 20.0


@dataclass(frozen=True)
class Allowance:
    """The time for training; it is kept in the run's status, for resuming.

    Attributes:
        seconds: what training may take; 0 for no limit.
        after: what the answers of the fifth step will take at the present pace.
        scoring: what scoring the validation part once takes at that pace.
    """

    seconds: float = 0.0
    after: float = 0.0
    scoring: float = 0.0


def available(budget: float, spent: float, testing: float = 0.0) -> float:
    """Seconds for training; 0 for no limit.

    Args:
        budget, spent: seconds in all, and those that are gone.
        testing: seconds that the answers of the fifth step take, as measured.
    """
    if not budget:
        return 0.0
    left = budget - spent
    return max(left - SEALING_SECONDS - max(TEST_SHARE * budget, testing), 0.2 * left, 1.0)


def threads_for(
    step: Callable[[], None], plan: Plan, machine: hardware.Hardware
) -> tuple[int, float | None, dict[str, str]]:
    """The plan's threads, or the best ones: (threads, which are set; seconds a step where measured; reasons)."""
    threads, pace, reasons = plan.training.threads, None, {}
    if not threads:
        threads, tried = hardware.best_threads(step, machine.cores)
        times = ", ".join(f"{number}: {seconds * 1000:.0f} ms" for number, seconds in tried.items())
        reasons["training.threads"] = f"measured, milliseconds a step with each number of threads: {times}"
        pace = tried[threads]
    torch.set_num_threads(threads)
    return threads, pace, reasons


class Found(Tried, Protocol):
    """What a learning rate is found for."""

    engine: Engine

    @property
    def source(self) -> Batches: ...


def with_rate_found(plan: Plan, learner: Found) -> tuple[Plan, str]:
    """The plan with the learning rate of a range test, and the reason; the learner is afterwards as it was."""
    rate, _ = find_rate(learner.method, learner.source, learner.engine)
    if rate is None:
        return plan, "as usual: in the range test no rate made the loss fall clearly"
    plan = replace(plan, optimizer=replace(plan.optimizer, learning_rate=rate))
    return plan, "found by the range test: a third of the rate where the loss is lowest"


class Epochs(Batches, Protocol):
    """A source of batches that come in epochs."""

    @property
    def steps(self) -> int: ...


class Paced(Protocol):
    """What learns, as far as its pace is concerned."""

    engine: Engine

    @property
    def method(self) -> Any: ...

    @property
    def source(self) -> Epochs: ...

    def steps_in(self, epochs: float) -> int: ...

    def validation_scores(self) -> Mapping[str, float]: ...


def measured(
    plan: Plan,
    learner: Paced,
    machine: hardware.Hardware,
    fixed: Collection[str],
    began: float,
    after: Callable[[float], float],
) -> tuple[Plan, dict[str, str], Allowance]:
    """Threads, precision, learning rate where wanted, and epochs; the learner is afterwards as it was.

    Args:
        fixed: settings that are not to be decided here.
        began: when the budget began to run, by `time.monotonic`.
        after: from the seconds of scoring the validation part to those that the fifth step takes.

    Returns:
        The plan, reasons, and the time for training.
    """
    step = _stepping(learner)
    with trial(learner):
        threads, _, reasons = threads_for(step, plan, machine)
        pace = hardware.seconds_per_call(step, calls=5, most=4.0)
        precision, pace, why = precision_for(learner, plan, machine, fixed, step, pace)
        scoring = hardware.seconds_per_call(learner.validation_scores, calls=1)
    reasons |= why
    if plan.training.find_rate:
        plan, reasons["optimizer.learning_rate"] = with_rate_found(plan, learner)
    testing = after(scoring)
    seconds = available(plan.budget, time.monotonic() - began, testing)
    training = replace(plan.training, threads=threads, precision=precision)
    if "training.epochs" not in fixed:
        if "training.most_epochs" not in fixed:
            training = replace(training, most_epochs=training.epochs)
        training, reasons["training.epochs"] = _epochs(training, learner.source.steps, pace, scoring, seconds)
    return replace(plan, training=training), reasons, Allowance(seconds, testing, scoring)


def _stepping(learner: Paced) -> Callable[[], None]:
    batches = learner.source.batches(0)

    def step() -> None:
        _, batch = next(batches)
        learner.method.update(batch, learner.engine)

    return step


def _epochs(
    training: TrainingPlan, steps: int, pace: float, scoring: float, seconds: float
) -> tuple[TrainingPlan, str]:
    """As many passes as there is time for, at most those wanted; a tenth is kept back, for a pace that changes.

    Args:
        steps: of a pass.
        pace, scoring: seconds of a step, and of scoring the validation part.
    """
    time_left = 0.9 * (seconds or DEFAULT_SECONDS)
    epoch = steps * pace
    evaluations = max(1, min(training.evaluations, int(0.25 * time_left / max(scoring, 1e-9))))
    possible = max(time_left - evaluations * scoring, 0.1 * time_left) / epoch
    training = replace(training, evaluations=evaluations)
    if training.epochs <= possible:
        return training, f"{training.epochs:g}: they take about {training.epochs * epoch:.0f} s at the measured pace"
    epochs = round(max(possible, 1 / steps), 3 if possible < 1 else 2)
    return replace(training, epochs=epochs), (
        f"{epochs:g} are what fits into {time_left:.0f} s at the measured pace ({training.epochs:g} would be of use)"
    )
