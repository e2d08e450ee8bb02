"""Step 4: the loop, with checkpoints, under the plan."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from lamina.choose import hardware
from lamina.files import write_bytes
from lamina.learn.engine import NonFiniteLossError
from lamina.learn.loop import Limits, Status, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.choose import Allowance
from lamina.steps.inform import inform
from lamina.steps.learner import Learner, build
from lamina.steps.prepare import Prepared

PLACES = 8
"""Rows of a batch that an error names."""


def train(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, *, allowed: Allowance, base: Path
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint in the run folder.

    Args:
        allowed: time for training, counted over all its processes.
        base: the folder that relative paths in the plan start from.

    Returns:
        The learner with its best weights, where training ended, and the log.
    """
    narrator.step("Train")
    hardware.keep_freed_memory()
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, prepared, hardware.detect().device, base)
    steps = learner.steps_in(plan.training.epochs)
    schedule = Schedule.over(steps, plan.schedule)
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
        threads=hardware.detect().cores if "measured" in plan.reasons.get("training.threads", "") else 0,
    )
    begun = newest_step(run)
    if not begun:
        inform(learner, plan, prepared)
    record = Record(run.log, narrator, start=begun)
    torch.manual_seed(plan.seed + 1)
    try:
        status = fit(
            learner.method,
            learner.source,
            schedule,
            learner.engine,
            limits=limits,
            evaluate=learner.validation_scores if len(prepared.split.validation) else None,
            record=record,
            folder=run.checkpoints,
        )
    except NonFiniteLossError as error:
        # The loop knows rows by number; the user knows them by file and line.
        more = f" and {len(error.rows) - PLACES:,} more" if len(error.rows) > PLACES else ""
        error.where = f"the batch of {'; '.join(prepared.table.place(row) for row in error.rows[:PLACES])}{more}"
        raise
    if not limits.keep_best:
        learner.method.load(learner.method.weights())
    write_bytes(run.weights, save({name: value.cpu().contiguous() for name, value in learner.method.weights().items()}))
    tell_end(status, plan, narrator)
    return learner, status, record


def tell_end(status: Status, plan: Plan, narrator: Narrator) -> None:
    """Why training ended, where it was not with its last step."""
    if status.stopped == "interrupted":
        narrator.say("interrupted: going on with the best weights so far; `lamina resume` can continue the training")
    elif status.stopped == "patience":
        narrator.say(f"no better for {plan.training.patience} evaluations: the best was at step {status.best_step:,}")


def newest_step(run: Run) -> int:
    """The step of the newest checkpoint, 0 without any: later entries of the log will be written again."""
    files = sorted(run.checkpoints.glob("*.safetensors"))
    return int(files[-1].stem) if files else 0
