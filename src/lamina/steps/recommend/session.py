"""The five steps for interactions, one after the other; and going on with them where they stopped."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save

from lamina import run as runs
from lamina.choose import hardware
from lamina.data.tables import Table
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.files import write_bytes
from lamina.learn.loop import Limits, Status, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import Plan, as_toml
from lamina.run import Run
from lamina.steps.choose import Allowance
from lamina.steps.recommend import choose, prepare, understand
from lamina.steps.recommend.learner import Learner, build
from lamina.steps.recommend.prepare import Prepared
from lamina.steps.recommend.test import test
from lamina.steps.request import Request
from lamina.steps.test import Clock
from lamina.steps.train import newest_step, tell_end

Ended = tuple[Run, Results, Status]


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps for interactions; ends with a sealed recommender and a report."""
    if given is not None:
        request = _following(request, given)
    understood = understand.understand(request, narrator)
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        prepared = prepare.prepare(understood.table, understood.plan, run, narrator)
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
    sets = [
        f"task.{name}.{key}={as_toml(value)}"
        for name, part in given.task.items()
        for key, value in part.options.items()
    ]
    return replace(
        request,
        split=request.split or (given.data.column if given.data.split == "column" else ""),
        budget=request.budget or given.budget,
        seed=request.seed or given.seed,
        sets=(*sets, *request.sets),
    )


def resume(run: Run, plan: Plan, table: Table, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with."""
    prepared = prepare.prepare(table, plan, run, narrator)
    allowed = Allowance(**run.status().get("allowed", {}))
    return _learn_and_test(run, plan, prepared, narrator, clock, meter, allowed)


def _learn_and_test(
    run: Run, plan: Plan, prepared: Prepared, narrator: Narrator, clock: Clock, meter: EnergyMeter, allowed: Allowance
) -> Ended:
    learner, ended, record = learn(plan, prepared, run, narrator, allowed)
    clock.trained(run, ended)
    results = test(plan, prepared, learner, run, narrator, ended=ended, record=record, clock=clock, meter=meter)
    return run, results, ended


def learn(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, allowed: Allowance
) -> tuple[Learner, Status, Record]:
    """Train as planned, or go on from the newest checkpoint in the run folder."""
    narrator.step("Train")
    hardware.keep_freed_memory()
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    learner = build(plan, prepared, hardware.detect().device)
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
        evaluate=learner.validation_scores,
        record=record,
        folder=run.checkpoints,
    )
    if not limits.keep_best:
        learner.method.load(learner.method.weights())
    write_bytes(run.weights, save({name: value.cpu().contiguous() for name, value in learner.method.weights().items()}))
    tell_end(status, plan, narrator)
    return learner, status, record
