"""The five steps in an environment, one after the other; and going on with them where they stopped."""

from __future__ import annotations

from pathlib import Path

from lamina import run as runs
from lamina.errors import InputError
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.learn.loop import Status
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.control import choose, prepare, test, understand
from lamina.steps.control.train import train as learn
from lamina.steps.finish import Clock, Course
from lamina.steps.request import Request, followed

Ended = tuple[Run, Results, Status]


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps for an environment; ends with a sealed policy and a report."""
    if given is not None:
        request = followed(request, given)
    understood = understand.understand(request, narrator)
    clock.lap("understand")
    world, plan = understood.world, understood.plan
    choose.check(request, world, plan, given)
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, plan.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        simpler = prepare.prepare(plan, world, run, narrator)
        clock.lap("prepare")
        plan, seconds = choose.choose(request, world, plan, narrator, random=simpler[0], began=began, given=given)
        clock.lap("choose")
        run.write_status(state="training", seconds=clock.seconds, allowed={"seconds": seconds}, base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        run.discard(folder=fresh)
        raise
    return _learn_and_test(run, plan, world, simpler, narrator, clock, meter, seconds)


def looked_at(request: Request, narrator: Narrator) -> tuple[Plan, None]:
    """Step 1 alone: (the plan that says what is observed and asked, no rows)."""
    return understand.understand(request, narrator).plan, None


def resume(run: Run, plan: Plan, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint.

    Raises:
        InputError: the environment is not what the run was started with.
    """
    narrator.step("Prepare")
    status = run.status()
    world = understand.opened(plan, Path(status.get("base", ".")))
    if understand.fingerprint(world) != plan.data.fingerprint:
        raise InputError(
            f"The environment {plan.data.train} observes or offers other things than when {run.folder} was started.",
            fix="Put the old one back, or start a new run with `lamina train`.",
        )
    simpler = prepare.prepared_again(plan, world, run, narrator)
    seconds = float(status.get("allowed", {}).get("seconds", 0.0))
    return _learn_and_test(run, plan, world, simpler, narrator, clock, meter, seconds)


def _learn_and_test(
    run: Run,
    plan: Plan,
    world: understand.World,
    simpler: tuple[prepare.Simpler, ...],
    narrator: Narrator,
    clock: Clock,
    meter: EnergyMeter,
    seconds: float,
) -> Ended:
    player, ended, record = learn(plan, world, run, narrator, seconds)
    clock.trained(run, ended)
    results = test.test(Course(plan, run, narrator, ended, record, clock, meter), world, player, simpler)
    return run, results, ended
