"""How many threads, and for how many passes there is time: found by steps that are really taken, for any learner."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.learn import checkpoint
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.plan import Plan, TrainingPlan
from lamina.steps.choose import Allowance, available


class Epochs(Protocol):
    """A source of batches that come in epochs."""

    @property
    def steps(self) -> int: ...

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]: ...


class Paced(Protocol):
    """What learns, as far as its pace is concerned."""

    engine: Engine

    @property
    def method(self) -> Any: ...

    @property
    def source(self) -> Epochs: ...

    def validation_scores(self) -> Mapping[str, float]: ...


def measured(
    plan: Plan,
    learner: Paced,
    machine: hardware.Hardware,
    fixed: Collection[str],
    began: float,
    after: Callable[[float], float],
) -> tuple[Plan, dict[str, str], Allowance]:
    """Threads and epochs; the learner is afterwards as it was.

    Args:
        fixed: settings that are not to be decided here.
        began: when the budget began to run, by `time.monotonic`.
        after: from the seconds of scoring the validation part to those that the fifth step takes.

    Returns:
        The plan, reasons, and the time for training.
    """
    reasons: dict[str, str] = {}
    saved = checkpoint.pack({"method": learner.method.state(), "random": checkpoint.random_state()})
    step = _stepping(learner)
    for optimizer in learner.method.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    threads = plan.training.threads
    if not threads:
        threads, tried = hardware.best_threads(step, machine.cores)
        times = ", ".join(f"{number}: {seconds * 1000:.0f} ms" for number, seconds in tried.items())
        reasons["training.threads"] = f"measured, milliseconds a step with each number of threads: {times}"
    torch.set_num_threads(threads)
    pace = hardware.seconds_per_call(step, calls=5, most=4.0)
    scoring = hardware.seconds_per_call(learner.validation_scores, calls=1)
    state = checkpoint.unpack(*saved)
    learner.method.restore(state["method"])
    checkpoint.restore_random_state(state["random"])
    testing = after(scoring)
    seconds = available(plan.budget, time.monotonic() - began, testing)
    training = replace(plan.training, threads=threads)
    if "training.epochs" not in fixed:
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
    training = replace(training, evaluations=evaluations, most_epochs=training.epochs)
    if training.epochs <= possible:
        return training, f"{training.epochs:g}: they take about {training.epochs * epoch:.0f} s at the measured pace"
    epochs = round(max(possible, 1 / steps), 3 if possible < 1 else 2)
    return replace(training, epochs=epochs), (
        f"{epochs:g} are what fits into {time_left:.0f} s at the measured pace ({training.epochs:g} would be of use)"
    )
