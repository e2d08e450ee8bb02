"""Step 4: the loop, with checkpoints, under the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save

from lamina.choose import hardware
from lamina.files import write_bytes
from lamina.learn import prefetch
from lamina.learn.batch import Source
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.loop import Learns, Limits, Status, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import private
from lamina.steps.inform import inform
from lamina.steps.learner import Learner, build
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.together import lead

PLACES = 8
"""Rows of a batch that an error names."""


class Company(Protocol):
    """Work that goes on beside the training, on `cores` of the machine's."""

    @property
    def cores(self) -> int: ...

    def running(self) -> bool: ...


def train(
    plan: Plan,
    prepared: Prepared,
    run: Run,
    narrator: Narrator,
    *,
    allowed: Allowance,
    base: Path,
    company: Company | None = None,
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint in the run folder.

    Args:
        allowed: time for training, counted over all its processes.
        base: the folder that relative paths in the plan start from.
        company: what else is done meanwhile; the threads of the training leave it its cores, unless they were given.

    Returns:
        The learner with its best weights, where training ended, and the log.
    """
    narrator.step("Train")
    machine = hardware.detect()
    threads = plan.training.threads or machine.cores
    if company is not None and company.running() and threads_measured(plan):
        threads = max(1, min(threads, machine.cores - company.cores))
    torch.set_num_threads(threads)
    learner = build(plan, prepared, machine.device, base)
    team = lead(learner, run)
    if private.wanted(plan):
        private.arm(learner, plan, private.secret_of(run))
    status, record = carry_out(
        learner,
        plan,
        run,
        narrator,
        allowed,
        scored=bool(len(prepared.split.validation)),
        place=prepared.table.place,
        company=company,
        # Private training starts from nothing that was read off the rows.
        begin=None if private.wanted(plan) else partial(inform, learner, plan, prepared),
    )
    if team is not None:
        learner.engine.team = None
        team.leave()
    return learner, status, record


def threads_measured(plan: Plan) -> bool:
    """Was the number of threads found by measuring, so that it may change?"""
    return "measured" in plan.reasons.get("training.threads", "")


class Trainable(Protocol):
    """What goes through the loop, whatever it learns from."""

    engine: Engine

    @property
    def method(self) -> Learns: ...

    @property
    def source(self) -> Source: ...

    def steps_in(self, epochs: float) -> int: ...

    def validation_scores(self) -> Mapping[str, float]: ...


def carry_out(
    learner: Trainable,
    plan: Plan,
    run: Run,
    narrator: Narrator,
    allowed: Allowance,
    *,
    scored: bool,
    place: Callable[[int], str] | None = None,
    company: Company | None = None,
    begin: Callable[[], None] | None = None,
) -> tuple[Status, Record]:
    """The plan's epochs, from the newest checkpoint on; the weights that are kept are written into the run's folder.

    Args:
        scored: whether there is anything to validate on.
        place: of a row, as the user knows it; None where batches are not of the table's rows.
        company: what else is done meanwhile.
        begin: called before the first step, and not where there is a checkpoint to go on from.

    Returns:
        Where training ended, and the log; the learner has its best weights.
    """
    steps, machine = learner.steps_in(plan.training.epochs), hardware.detect()
    limits = Limits(
        every=max(1, steps // max(plan.training.evaluations, 1)),
        patience=plan.training.patience,
        most_steps=learner.steps_in(plan.training.most_epochs),
        seconds=allowed.seconds,
        after=allowed.after,
        scoring=allowed.scoring,
        save_seconds=plan.training.checkpoint_seconds,
        log_steps=max(1, min(20, steps // 50)),
        keep_best=plan.training.keep == "best",
        threads=machine.cores if threads_measured(plan) else 0,
        shared=(lambda: False) if company is None else company.running,
    )
    record = Record(run.log, narrator)
    torch.manual_seed(plan.seed + 1)
    method = learner.method
    try:
        with hardware.products("high"):
            status = fit(
                method,
                prefetch.ahead(learner.source, learner.engine.device, torch.get_num_threads(), machine.cores),
                Schedule.over(steps, plan.schedule),
                learner.engine,
                limits=limits,
                evaluate=partial(exactly, learner.validation_scores) if scored else None,
                record=record,
                folder=run.checkpoints,
                begin=begin,
            )
    except NonFiniteLossError as error:
        if place is not None:
            # The loop knows rows by number; the user knows them by file and line.
            more = f" and {len(error.rows) - PLACES:,} more" if len(error.rows) > PLACES else ""
            error.where = f"the batch of {'; '.join(place(row) for row in error.rows[:PLACES])}{more}"
        raise
    if not limits.keep_best:
        method.load(method.weights())
    write_bytes(run.weights, save({name: value.cpu().contiguous() for name, value in method.weights().items()}))
    tell_end(status, plan, narrator)
    return status, record


def exactly(scores: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """Scores of the network as it answers when it is tested and sealed, whatever training computes with."""
    with hardware.products("highest"):
        return scores()


def tell_end(status: Status, plan: Plan, narrator: Narrator) -> None:
    """Why training ended, where it was not with its last step."""
    if status.stopped == "interrupted":
        narrator.say("interrupted: going on with the best weights so far; `lamina resume` can continue the training")
    elif status.stopped == "patience":
        narrator.say(f"no better for {plan.training.patience} evaluations: the best was at step {status.best_step:,}")
