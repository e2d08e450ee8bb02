"""Choose, train and test without answers, once the data is prepared; and going on with them where they stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.finish import Clock, Course
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.train import carry_out
from lamina.steps.unlabelled import choose
from lamina.steps.unlabelled.labels import Array, labels_of, of_ordinary, ordinary
from lamina.steps.unlabelled.learner import Learner, asked, build
from lamina.steps.unlabelled.test import test


def learn(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, *, allowed: Allowance, base: Path
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint; arguments as of `lamina.steps.train.train`."""
    narrator.step("Train")
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, prepared, hardware.detect().device, base, rows_to_learn(plan, prepared))
    learner.say = narrator.say
    status, record = carry_out(
        learner, plan, run, narrator, allowed, scored=bool(len(prepared.split.validation)), place=prepared.table.place
    )
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
    course = Course(plan, run, narrator, ended, record, clock, meter)
    results = test(course, prepared, learner, labels, label, base=base)
    return results, ended
