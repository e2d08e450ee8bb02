"""Choose, train and test without answers, once the data is prepared; and going on with them where they stopped."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.files import write_bytes
from lamina.learn.loop import Limits, Status, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.choose import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.test import Clock
from lamina.steps.train import newest_step, tell_end
from lamina.steps.unlabelled import choose
from lamina.steps.unlabelled.labels import Array, labels_of, of_ordinary, ordinary
from lamina.steps.unlabelled.learner import Learner, asked, build
from lamina.steps.unlabelled.test import test


def learn(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, *, allowed: Allowance, base: Path
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint; arguments as of `lamina.steps.train.train`."""
    narrator.step("Train")
    hardware.keep_freed_memory()
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, prepared, hardware.detect().device, base, rows_to_learn(plan, prepared))
    steps = learner.steps_in(plan.training.epochs)
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
    record = Record(run.log, narrator, start=newest_step(run))
    torch.manual_seed(plan.seed + 1)
    status = fit(
        learner.method,
        learner.source,
        Schedule.over(steps, plan.schedule),
        learner.engine,
        limits=limits,
        evaluate=learner.validation_scores if len(prepared.split.validation) else None,
        record=record,
        folder=run.checkpoints,
    )
    if not limits.keep_best:
        learner.method.load(learner.method.weights())
    write_bytes(run.weights, save({name: value.cpu().contiguous() for name, value in learner.method.weights().items()}))
    tell_end(status, plan, narrator)
    return learner, status, record


def rows_to_learn(plan: Plan, prepared: Prepared) -> tuple[Array, Array]:
    """Training and validation rows, without the strange ones where the user says which are ordinary."""
    labels = labels_of(prepared.table, prepared.schema)
    return of_ordinary(prepared.split, labels, ordinary(labels, plan.task[asked(plan)[0]].options))


def choose_all(
    request: Request,
    prepared: Prepared,
    plan: Plan,
    run: Run,
    narrator: Narrator,
    *,
    clock: Clock,
    began: float,
    given: Plan | None,
) -> tuple[Plan, Allowance]:
    """Check the wishes, fill in the plan."""
    choose.check(request, prepared, plan, given)
    rows = rows_to_learn(plan, prepared)
    clock.lap("prepare")
    chosen = choose.choose(request, prepared, plan, narrator, rows=rows, began=began, given=given)
    clock.lap("choose")
    return chosen


def train_and_test(
    run: Run,
    plan: Plan,
    prepared: Prepared,
    narrator: Narrator,
    *,
    clock: Clock,
    meter: EnergyMeter,
    allowed: Allowance,
    base: Path,
) -> tuple[Results, Status]:
    """Train, or go on from the newest checkpoint; then test, seal and report."""
    learner, ended, record = learn(plan, prepared, run, narrator, allowed=allowed, base=base)
    clock.trained(run, ended)
    labels = labels_of(prepared.table, prepared.schema)
    label = ordinary(labels, plan.task[asked(plan)[0]].options)
    results = test(
        plan, prepared, learner, labels, label, run, narrator,
        ended=ended, record=record, clock=clock, meter=meter, base=base,
    )  # fmt: skip
    return results, ended
