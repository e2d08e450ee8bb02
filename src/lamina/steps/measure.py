"""What of a learner of examples is decided by measuring: threads, precision, batch size, compiling, rate, epochs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, cast

import torch
from torch import nn

from lamina.ahead import whole_torch
from lamina.choose import hardware
from lamina.choose import training as choose_training
from lamina.errors import InputError
from lamina.learn.batch import Source
from lamina.learn.engine import Engine
from lamina.plan import Plan
from lamina.steps.batch_size import Batched, bearable, largest_useful
from lamina.steps.explanations import answers_asked
from lamina.steps.pace import Allowance, available, stepping, with_rate_found
from lamina.steps.prepare import Prepared
from lamina.steps.trial import Steps, trial
from lamina.tasks import LaidOut

TRY_COMPILING = {False: 3600.0, True: 120.0}
"""Seconds of training from which on compiling is tried, without and with a GPU: on processors it takes about a minute
and has gained nothing for small convolutional networks."""


class Batches(Source, Protocol):
    """Batches of examples that are numbered."""

    @property
    def rows(self) -> Any: ...

    @property
    def batch_size(self) -> int: ...


class Measured(Protocol):
    """What is measured of a learner."""

    engine: Engine

    @property
    def source(self) -> Batches: ...

    @property
    def validation(self) -> Batches: ...

    @property
    def method(self) -> Any: ...

    @property
    def network(self) -> nn.Module: ...

    def steps_in(self, epochs: float) -> int: ...


def measure(
    plan: Plan,
    learner: Measured,
    machine: hardware.Hardware,
    fixed: set[str],
    prepared: Prepared | None,
    began: float,
    *,
    answers: int = 0,
    testing: float = 0.0,
) -> tuple[Plan, dict[str, str], Allowance]:
    """Threads, precision, batch size, learning rate where wanted, and epochs, from steps really taken; method and draws
    are put back afterwards.

    Args:
        fixed: the settings that are not to be decided here.
        prepared: what the fifth step asks answers of; None where `answers` are all.
        began: when the budget began to run.
        answers: of the network that the fifth step asks for besides the usual ones.
        testing: seconds that it takes besides answers.

    Returns:
        The plan, reasons, and the time for training.
    """
    step = Steps(learner)
    with trial(learner):
        batched = cast(Batched, learner)
        plan, reasons = bearable(batched, plan, fixed, step)
        found = stepping(learner, plan, machine, fixed, step, step.again)
        plan, pace, larger = largest_useful(batched, plan, fixed, step, found.pace)
        reasons |= {**found.reasons, **larger}
        if plan.training.compile:
            _check_compiles(step)
        elif "training.compile" not in fixed:
            wanted = learner.steps_in(plan.training.epochs) * pace
            seconds = available(plan.budget, time.monotonic() - began) or choose_training.DEFAULT_SECONDS
            if min(wanted, seconds) >= TRY_COMPILING[learner.engine.device.type != "cpu"]:
                compiled, pace, reasons["training.compile"] = _compiled(
                    learner, step, pace, min(wanted, seconds) / pace
                )
                plan = replace(plan, training=replace(plan.training, compile=compiled))
        answer = _seconds_per_answer(learner)
    training = replace(plan.training, threads=found.threads, precision=found.precision)
    if training.find_rate:
        plan, reasons["optimizer.learning_rate"] = with_rate_found(plan, learner)
    usual = 0 if prepared is None else _answers_asked(prepared, 1 / answer)
    after = testing + (answers + usual) * answer
    scoring = len(learner.validation.rows) * answer
    seconds = available(plan.budget, time.monotonic() - began, after)
    if "training.epochs" not in fixed:
        # Scoring the validation part takes time as well.
        share = 1 + training.evaluations * scoring / max(learner.steps_in(training.epochs) * pace, 1e-9)
        if "training.most_epochs" not in fixed:
            training = replace(training, most_epochs=training.epochs)
        training, reasons["training.epochs"] = choose_training.fit_epochs(
            training, len(learner.source.rows), pace * min(share, 1.5), seconds or choose_training.DEFAULT_SECONDS
        )
    return replace(plan, training=training), reasons, Allowance(seconds, after, scoring)


def _answers_asked(prepared: Prepared, pace: float) -> int:
    """How many answers the fifth step asks for, here and of the sealed model, if they come at this pace."""
    split = prepared.split
    explained = sum(not isinstance(task, LaidOut) for task in prepared.tasks.values())
    asked = answers_asked(prepared.schema, len(split.test), pace) if explained else 0
    return len(split.validation) + 2 * len(split.test) + asked


def _seconds_per_answer(learner: Measured) -> float:
    """The time of one example's answer, from a few batches."""
    engine, numbers, rows = learner.engine, count(), 1

    def answer() -> None:
        nonlocal rows
        _, batch = next(learner.source.batches(next(numbers)))
        # Of several processes each has a share of the batch.
        rows = len(batch)
        learner.network(batch.to(engine.device).inputs)

    with learner.method.evaluating():
        return hardware.seconds_per_call(answer, calls=3, most=2.0) / max(rows, 1)


def _check_compiles(step: Callable[[], None]) -> None:
    """Take a step with the compiled network that the user asked for.

    Raises:
        InputError: it cannot be compiled here.
    """
    try:
        step()
    except Exception as error:
        if not hardware.compiler_error(error):
            raise
        raise InputError(
            f"The network cannot be compiled here: {_first_line(error)}",
            where="training.compile",
            fix="Leave it out, or install a C++ compiler (g++).",
        ) from None


def _compiled(learner: Measured, step: Callable[[], None], pace: float, steps: float) -> tuple[bool, float, str]:
    """(whether to compile, seconds a step then, reason): where so many steps save more than compiling takes.

    Args:
        step: takes a step with the learner's method.
        pace: seconds a step without.
    """
    whole_torch()
    plain, begin = learner.method.forward, time.perf_counter()
    learner.method.forward = torch.compile(learner.network)
    try:
        step()
        once = time.perf_counter() - begin
        faster = hardware.seconds_per_call(step, calls=7, most=4.0)
    except Exception as error:
        if not hardware.compiler_error(error):
            raise
        learner.method.forward = plain
        return False, pace, f"not compiled, for that fails here: {_first_line(error)}"
    found = f"compiling took {once:.0f} s, a step then {faster * 1000:.0f} ms instead of {pace * 1000:.0f}"
    if (pace - faster) * steps > once:
        return True, faster, f"compiled, measured: {found}"
    learner.method.forward = plain
    return False, pace, f"not compiled, measured: {found}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
