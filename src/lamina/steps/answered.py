"""Steps 3 to 5 where the rows have answers to learn from."""

from __future__ import annotations

from pathlib import Path

from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import baselines, choose, test
from lamina.steps.choose import Allowance
from lamina.steps.finish import Clock, Course
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.train import train


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
    """Check the wishes, fit the baselines, fill in the plan."""
    choose.check(request, prepared, plan, given)
    baselines.fit_baselines(plan, prepared, run, narrator)
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
    """Train, or go on from the newest checkpoint; then test, seal and report."""
    compared = baselines.read_baselines(run, plan)
    if compared is None:
        compared = baselines.fit_baselines(plan, prepared, run, narrator)
    learner, ended, record = train(plan, prepared, run, narrator, allowed=allowed, base=base)
    clock.trained(run, ended)
    results = test.test(Course(plan, run, narrator, ended, record, clock, meter), prepared, learner, compared)
    return results, ended
