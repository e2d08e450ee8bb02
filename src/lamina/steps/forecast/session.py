"""The five steps for series, one after the other; and going on with them where they stopped."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from lamina import run as runs
from lamina.choose import hardware
from lamina.data.tables import Table
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.narrate import Narrator
from lamina.plan import Plan, as_toml
from lamina.run import Run
from lamina.steps.choose import Allowance
from lamina.steps.finish import Clock, Course
from lamina.steps.forecast import choose, prepare, understand
from lamina.steps.forecast.learner import Learner, build
from lamina.steps.forecast.prepare import Prepared
from lamina.steps.forecast.test import test
from lamina.steps.request import Request
from lamina.steps.train import carry_out

Ended = tuple[Run, Results, Status]


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps for series; ends with a sealed forecaster and a report."""
    if given is not None:
        request = _following(request, given)
    understood = understand.understand(request, narrator)
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        prepared = prepare.prepare(understood.table, understood.boundary, understood.plan, run, narrator)
        choose.check(request, prepared, understood.plan, given)
        clock.lap("prepare")
        plan, allowed = choose.choose(request, prepared, understood.plan, narrator, began=began, given=given)
        clock.lap("choose")
        run.write_status(state="training", seconds=clock.seconds, allowed=asdict(allowed), base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        run.discard(folder=fresh)
        raise
    return _learn_and_test(run, plan, prepared, narrator, clock, meter, allowed)


def _following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    target, part = next(iter(given.task.items()))
    sets = [f"task.{target}.{key}={as_toml(value)}" for key, value in part.options.items()]
    return replace(
        request,
        targets=request.targets or (target,),
        budget=request.budget or given.budget,
        seed=request.seed or given.seed,
        sets=(*sets, *request.sets),
    )


def resume(
    run: Run, plan: Plan, table: Table, boundary: int | None, narrator: Narrator, *, clock: Clock, meter: EnergyMeter
) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with."""
    prepared = prepare.prepare(table, boundary, plan, run, narrator)
    allowed = Allowance(**run.status().get("allowed", {}))
    return _learn_and_test(run, plan, prepared, narrator, clock, meter, allowed)


def _learn_and_test(
    run: Run, plan: Plan, prepared: Prepared, narrator: Narrator, clock: Clock, meter: EnergyMeter, allowed: Allowance
) -> Ended:
    learner, ended, record = learn(plan, prepared, run, narrator, allowed)
    clock.trained(run, ended)
    results = test(Course(plan, run, narrator, ended, record, clock, meter), prepared, learner)
    return run, results, ended


def learn(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, allowed: Allowance
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint in the run folder."""
    narrator.step("Train")
    hardware.keep_freed_memory()
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, prepared, hardware.detect().device)
    status, record = carry_out(learner, plan, run, narrator, allowed, scored=True)
    return learner, status, record
