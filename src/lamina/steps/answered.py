"""Steps 3 to 5 where the rows have answers to learn from."""

from __future__ import annotations

from pathlib import Path

from lamina.choose import hardware
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import alongside, baselines, choose, test
from lamina.steps.finish import Clock, Course
from lamina.steps.pace import Allowance
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
    """Check the wishes, fit the baselines unless they are better fitted while the network trains, fill in the plan."""
    decided = choose.check(request, prepared, plan, given)
    cores = hardware.detect().cores
    if baselines.known_baselines(plan, run, narrator, cores) is None:
        if alongside.worthwhile(decided.plan, prepared, cores):
            narrator.say("baselines: fitted alongside the training")
        else:
            baselines.fit_baselines(plan, prepared, run, narrator, cores=cores)
    clock.lap("prepare")
    chosen = choose.choose(request, prepared, decided, narrator, began=began, given=given)
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
    cores = hardware.detect().cores
    compared = baselines.read_baselines(run, plan)
    if compared is None and not alongside.possible(cores):
        compared = baselines.fit_baselines(plan, prepared, run, narrator, cores=cores)
    if compared is not None:
        learner, ended, record = train(plan, prepared, run, narrator, allowed=allowed, base=base)
        clock.trained(run, ended)
        missing = baselines.left_out(run)
    else:
        with alongside.company(plan, prepared, run, cores) as company:
            learner, ended, record = train(plan, prepared, run, narrator, allowed=allowed, base=base, company=company)
            clock.trained(run, ended)
            compared, missing = alongside.joined(
                company, plan, prepared, run, narrator, ended=ended, allowed=allowed, cores=cores
            )
    course = Course(plan, run, narrator, ended, record, clock, meter)
    return test.test(course, prepared, learner, compared, missing), ended
