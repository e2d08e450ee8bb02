"""Choose, train and test captions, once the data is prepared; and going on with them where they stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.captioned import choose
from lamina.steps.captioned.learner import build, material_of
from lamina.steps.captioned.learner import trained as trained
from lamina.steps.captioned.test import test
from lamina.steps.finish import Clock, Course
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.train import carry_out


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
    clock.lap("prepare")
    chosen = choose.choose(request, prepared, plan, narrator, began=began, given=given)
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
    """Train, or go on from the newest checkpoint; then write captions, compare, seal and report."""
    narrator.step("Train")
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    material = material_of(plan, prepared)
    learner = build(plan, material, hardware.detect().device, base)
    learner.samples = run.folder / "samples"
    ended, record = carry_out(learner, plan, run, narrator, allowed, scored=True, place=prepared.table.place)
    learner.samples = None
    clock.trained(run, ended)
    results = test(Course(plan, run, narrator, ended, record, clock, meter), material, learner)
    return results, ended
