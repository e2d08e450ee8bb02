"""How much time there is, with how many threads and in what precision steps are fastest, and how many passes fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.learn.engine import Engine
from lamina.learn.finder import Batches, find_rate
from lamina.plan import Plan, TrainingPlan
from lamina.steps import known
from lamina.steps.known import Paces
from lamina.steps.precision import Precise, Precision, as_found, is_open, precision_for
from lamina.steps.trial import AGREEING, ENOUGH, TRIALS, Steps, Tried, holds, nowhere, trial

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


@dataclass(frozen=True)
class Stepping:
    """How steps are fastest.

    Attributes:
        threads: of the processor, which are set.
        precision: which the engine has.
        pace: seconds a step.
        reasons: by dotted key.
    """

    threads: int
    precision: Precision
    pace: float
    reasons: Mapping[str, str]


def stepping(
    learner: Precise,
    plan: Plan,
    machine: hardware.Hardware,
    fixed: Collection[str],
    step: Callable[[], None],
    again: Callable[[int], None] = nowhere,
) -> Stepping:
    """Threads and precision, as far as the plan leaves them open, and the pace.

    What an earlier run with such steps found on this machine is taken where a few steps agree with it: where they take
    as long as then, or where what was compared then compares alike now. A pace alone tells nothing of a machine that is
    slower than then, or was busy: ratios do.

    Args:
        fixed: settings that are not to be decided here.
        step: takes a step with the learner's engine.
        again: has the next step be on the batch of a number.
    """
    asked, earlier = _question(learner, plan, machine, fixed), None
    if asked is not None:
        earlier = known.paces(asked)
    if earlier is not None:
        unchanged = _as_then(learner, plan, machine, fixed, step, earlier, again)
        if unchanged is not None:
            return unchanged
    threads, pace, reasons, tried = threads_for(step, plan, machine, earlier, again)
    if pace is None:
        again(0)
        pace = hardware.seconds_per_call(step, calls=7, most=4.0)
    elif earlier is not None and tried != earlier.threads:
        earlier = None
    precision, pace, why, compared = precision_for(learner, plan, machine, fixed, step, pace, earlier, again)
    if asked is not None:
        known.keep_paces(asked, Paces(tried, compared.gain, compared.apart, _few(step, again)))
    return Stepping(threads, precision, pace, {**reasons, **why})


def _few(step: Callable[[], None], again: Callable[[int], None]) -> float:
    """Seconds a step, from a few after those that warmed up; each time on the same batches."""
    again(1)
    return hardware.seconds_per_call(step, calls=5, most=ENOUGH, warm=True)


def _as_then(
    learner: Precise,
    plan: Plan,
    machine: hardware.Hardware,
    fixed: Collection[str],
    step: Callable[[], None],
    earlier: Paces,
    again: Callable[[int], None],
) -> Stepping | None:
    """What an earlier run found, which is then set, where all cores were best and steps take no longer now; None where
    not, with the precision as before."""
    open_precision = is_open(plan, machine, fixed)
    # Where fewer threads than there are cores were best, the machine may have been busy, and be free now.
    threads = plan.training.threads or hardware.preferred(earlier.threads)
    if (threads != machine.cores and not plan.training.threads) or (open_precision and not earlier.gain):
        return None
    before, precision, reasons = learner.engine.precision, plan.training.precision, dict[str, str]()
    if open_precision:
        precision, _, reasons = as_found(learner, earlier, 0.0)
    torch.set_num_threads(threads)
    again(0)
    step()
    pace = _few(step, again)
    if pace > AGREEING * earlier.pace:
        learner.engine.precision = before
        return None
    if not plan.training.threads:
        told = f"and steps take {pace * 1000:.0f} ms now, then {earlier.pace * 1000:.0f}"
        reasons["training.threads"] = f"{threads}: measured by an earlier run on this machine, {told}"
    return Stepping(threads, precision, pace, reasons)


def _question(
    learner: Precise, plan: Plan, machine: hardware.Hardware, fixed: Collection[str]
) -> known.Question | None:
    """What is to be found out; None where nothing is."""
    if not is_open(plan, machine, fixed) and (plan.training.threads or machine.cores == 1):
        return None
    _, batch = next(learner.source.batches(0))
    shapes = {
        name: [list(value.shape), str(value.dtype)]
        for part in (batch.inputs, batch.targets)
        for name, value in sorted(part.items())
    }
    return known.steps_question(plan, shapes, (machine.description, machine.cores, str(machine.device)), fixed)


def threads_for(
    step: Callable[[], None],
    plan: Plan,
    machine: hardware.Hardware,
    earlier: Paces | None = None,
    again: Callable[[int], None] = nowhere,
) -> tuple[int, float | None, dict[str, str], Mapping[int, float]]:
    """The plan's threads, or the best ones: (threads, which are set; seconds a step where measured; reasons; seconds by
    number tried, as multiples of the least).

    Args:
        earlier: what an earlier run found; it is taken where steps with two of its numbers agree with it.
        again: has the next step be on the batch of a number.
    """
    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
        return plan.training.threads, None, {}, {}
    confirmed = _confirmed(step, machine, earlier.threads, again) if earlier is not None else None
    if confirmed is not None:
        threads, pace, reason = confirmed
        assert earlier is not None
        return threads, pace, {"training.threads": reason}, earlier.threads
    threads, tried = hardware.best_threads(step, machine.cores, partial(again, 0))
    times = ", ".join(f"{number}: {seconds * 1000:.0f} ms" for number, seconds in tried.items())
    reasons = {"training.threads": f"measured, milliseconds a step with each number of threads: {times}"}
    least = max(min(tried.values()), 1e-9)
    return threads, tried[threads], reasons, {number: seconds / least for number, seconds in tried.items()}


def _confirmed(
    step: Callable[[], None], machine: hardware.Hardware, earlier: Mapping[int, float], again: Callable[[int], None]
) -> tuple[int, float, str] | None:
    """(Threads, which are set; seconds a step; reason), where the best number of an earlier run still gains."""
    if len(earlier) < 2 or max(earlier) > machine.cores:
        return None
    best = hardware.preferred(earlier)
    others = [number for number in earlier if number != best]
    # One thread waits for no other: beside it several show at once that cores are taken.
    other = 1 if best > 1 else min(others, key=lambda number: earlier[number])
    again(0)
    step()
    for _ in range(TRIALS):
        seconds = {}
        for number in (other, best):
            torch.set_num_threads(number)
            again(1)
            seconds[number] = hardware.seconds_per_call(step, calls=5, most=ENOUGH, warm=True)
        if holds(seconds[other] / seconds[best], earlier[other] / earlier[best]):
            told = f"{seconds[best] * 1000:.0f} ms a step, and with {other} {seconds[other] * 1000:.0f}"
            reason = f"{best}: measured by an earlier run on this machine, and now as well: {told}"
            return best, seconds[best], reason
    return None


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
    step = Steps(learner)
    with trial(learner):
        found = stepping(learner, plan, machine, fixed, step, step.again)
        scoring = hardware.seconds_per_call(learner.validation_scores, calls=1)
    pace, reasons = found.pace, dict(found.reasons)
    if plan.training.find_rate:
        plan, reasons["optimizer.learning_rate"] = with_rate_found(plan, learner)
    testing = after(scoring)
    seconds = available(plan.budget, time.monotonic() - began, testing)
    training = replace(plan.training, threads=found.threads, precision=found.precision)
    if "training.epochs" not in fixed:
        if "training.most_epochs" not in fixed:
            training = replace(training, most_epochs=training.epochs)
        training, reasons["training.epochs"] = _epochs(training, learner.source.steps, pace, scoring, seconds)
    return replace(plan, training=training), reasons, Allowance(seconds, testing, scoring)


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
