"""Step 3 for pictures that are made: method, sizes, the judge's steps, epochs, each with its reason, into plan.toml."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.errors import InputError
from lamina.narrate import Narrator
from lamina.plan import Plan, TaskPlan
from lamina.steps.generate import judging
from lamina.steps.generate.kind import Maker, Pace, kind_of
from lamina.steps.generate.pictures import only_pictures
from lamina.steps.learner import shuffled
from lamina.steps.measure import measure
from lamina.steps.pace import Allowance, available
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.settings import check_wishes
from lamina.steps.unlabelled.learner import asked, check_method

JUDGING = 0.2
"""Share of the time left that the judges' training takes: one on real pictures, one on made ones."""
JUDGE_STEPS = (30, 1500)
"""At least, and at most."""
TRIED, ASKED = 3, 64
"""Steps and pictures that show how long a judge takes."""


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open; arguments as of `lamina.steps.choose.choose`."""
    narrator.step("Choose")
    machine = hardware.detect()
    plan = decided(request, prepared, plan, given)
    kind = kind_of(plan)
    learner = kind.build(plan, prepared, machine.device)
    fixed = {item.partition("=")[0].strip() for item in request.sets} | {"training.compile", "training.batch_size"}
    fixed |= {"training.precision"} if given is not None else set()
    plan, measured, allowed = measure(plan, learner, machine, fixed, prepared, began)
    plan, steps_reason, allowed = _judged(plan, prepared, learner, allowed, began)
    plan = replace(plan, reasons={**plan.reasons, **measured, f"task.{asked(plan)[0]}.options.judge": steps_reason})
    for sentence in kind.said(learner, prepared):
        narrator.say(sentence)
    narrator.say(f"method: {plan.reasons['method.name']}")
    for key in ("training.shuffle", "training.threads", "training.precision", "training.epochs"):
        if key in plan.reasons:
            narrator.say(f"{key.removeprefix('training.')}: {plan.reasons[key]}")
    narrator.say(f"judge: {steps_reason}")
    weights = sum(value.numel() for value in learner.network.parameters())
    narrator.say(f"{weights:,} weights while it learns")
    return plan, allowed


def check(request: Request, prepared: Prepared, plan: Plan, given: Plan | None = None) -> None:
    """Find what is wrong with the wishes before any time is spent.

    Raises:
        InputError: a name, option or value that does not exist, or inputs that are no pictures.
    """
    kind = kind_of(plan)
    if request.weights:
        raise InputError(
            f"The task {plan.task[asked(plan)[0]].name!r} takes no --weights.",
            where="--weights",
            fix="Leave it out: it starts from scratch.",
        )
    only_pictures(prepared, asked(plan)[1])
    kind.check(plan.task[asked(plan)[0]].options)
    wished = decided(request, prepared, plan, given)
    check_wishes(wished, request)
    kind.build(wished, prepared, torch.device("cpu"))


def decided(request: Request, prepared: Prepared, plan: Plan, given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring."""
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in ("data", "task", "seed", "schema")]
    wishes = {item.partition("=")[0].strip(): "you asked for it" for item in sets}
    if given is not None:
        plan = replace(
            given, data=plan.data, schema=plan.schema, task=plan.task, budget=plan.budget, seed=plan.seed,
            name=plan.name, reasons={**plan.reasons, **given.reasons, **wishes},
        ).with_set(sets)  # fmt: skip
        check_method(plan, features)
        return plan
    plan = shuffled(kind_of(plan).defaults(plan, prepared), prepared)
    plan = replace(plan, reasons={**plan.reasons, **wishes}).with_set(sets)
    check_method(plan, features)
    return plan


def _judged(
    plan: Plan, prepared: Prepared, learner: Maker, allowed: Allowance, began: float
) -> tuple[Plan, str, Allowance]:
    """(The plan with the steps of the judges' training, the reason, what is left for the networks).

    A judge is trained before the networks, and afterwards another one may be; both and all that they are asked take
    time of the budget.
    """
    name, task = next(iter(plan.task.items()))
    rows, pictures, device = learner.judged, learner.pictures, learner.engine.device
    judge = judging.fresh(pictures.feature, len(pictures.classes), plan.seed, device)
    draw = judging.of_rows(learner.images, pictures.answers(), rows)
    source = judging.Drawn(draw, bool(pictures.label), plan.seed)
    step = _seconds(lambda: judging.trained(judge, source, TRIED, learner.engine)) / TRIED
    making = _seconds(lambda: learner.trial(ASKED)) / ASKED
    asking = _seconds(lambda: judge.features(draw(np.random.default_rng(0))[0], device)) / judging.BATCH
    if "judge" in task.options:
        steps, reason = int(task.options["judge"]), "you asked for it"
    else:
        seconds = allowed.seconds or DEFAULT_SECONDS
        steps = int(np.clip(JUDGING * seconds / 2 / step, *JUDGE_STEPS))
        reason = f"{steps} steps of a classifier on {len(rows):,} pictures, by whose features made ones are compared"
        plan = replace(plan, task={**plan.task, name: TaskPlan(task.name, {**task.options, "judge": steps})})
    pace = Pace(steps, step, making, asking)
    after = learner.seconds_after(prepared.split, pace)
    left = available(plan.budget, time.monotonic() - began, after)
    scoring = learner.seconds_scoring(prepared.split, pace)
    return plan, reason, Allowance(max(left - steps * step, 1.0) if left else 0.0, after, scoring)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
