"""Step 3 for new examples: method, sizes, steps of the judge, epochs, each with its reason, into plan.toml."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from lamina.choose import hardware
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import MethodPlan, OptimizerPlan, Plan, SchedulePlan, TaskPlan, TrainingPlan
from lamina.steps.choose import Allowance, measure
from lamina.steps.generate import judging
from lamina.steps.generate.learner import Learner, build, pictures_of
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.unlabelled.learner import asked, check_method
from lamina.tasks import generate

MOST_SEEN = 4e6
"""Pictures that training looks at, where there is time."""
MOST_EPOCHS = 400.0
JUDGING = 0.2
"""Share of the time left that the judges' training takes: one on real pictures, one on made ones."""
JUDGE_STEPS = (30, 1500)
"""At least, and at most."""


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open; arguments as of `lamina.steps.choose.choose`."""
    narrator.step("Choose")
    hardware.keep_freed_memory()
    machine = hardware.detect()
    plan = decided(request, prepared, plan, given)
    learner = build(plan, prepared, machine.device)
    fixed = {item.partition("=")[0].strip() for item in request.sets} | {"training.compile"}
    fixed |= {"training.precision"} if given is not None else set()
    plan, measured, allowed = measure(plan, learner, machine, fixed, prepared, began)
    plan, steps_reason, judging_seconds = _judge_steps(plan, learner, allowed)
    if allowed.seconds:
        allowed = replace(allowed, seconds=max(allowed.seconds - judging_seconds, 1.0))
    plan = replace(plan, reasons={**plan.reasons, **measured, f"task.{asked(plan)[0]}.options.judge": steps_reason})
    pictures = learner.pictures
    if pictures.label:
        narrator.say(f"classes to be asked for by name: {len(pictures.classes)}, of {pictures.label}")
    elif prepared.schema.with_role("label"):
        narrator.say("the labels are not used: there are too few pictures of each, or one label only")
    narrator.say(f"method: {plan.reasons['method.name']}")
    for key in ("training.threads", "training.epochs"):
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
    pictures_of(prepared)
    generate.check_options(plan.task[asked(plan)[0]].options)
    wished = decided(request, prepared, plan, given)
    Schedule.over(1, wished.schedule)
    build(wished, prepared, torch.device("cpu"))


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
    rows = len(prepared.split.train)
    epochs = round(min(MOST_SEEN / rows, MOST_EPOCHS), 1)
    training = TrainingPlan(
        epochs=epochs, batch_size=min(64, rows), clip=0.0, ema=0.999, evaluations=12, patience=0, keep="best"
    )
    plan = replace(
        plan,
        network={},
        method=MethodPlan("adversarial"),
        optimizer=OptimizerPlan("adam", 1e-3, weight_decay=0.0, momentum=0.0, beta2=0.99),
        schedule=SchedulePlan("cosine", warmup=0.0, final=0.05),
        training=training,
        reasons={
            **plan.reasons,
            "method.name": "adversarial: a generator learns to make what a critic cannot tell from real pictures",
            "training.epochs": f"{epochs:g}: the longer the better, as far as there is time",
            **wishes,
        },
    )
    plan = plan.with_set(sets)
    check_method(plan, features)
    return plan


def _judge_steps(plan: Plan, learner: Learner, allowed: Allowance) -> tuple[Plan, str, float]:
    """(The plan with the steps of the judges' training, the reason, seconds that both will take)."""
    name, task = next(iter(plan.task.items()))
    rows = learner.source.rows
    pictures = learner.pictures
    judge = judging.fresh(pictures.feature, len(pictures.classes), plan.seed, learner.engine.device)
    draw = judging.of_rows(learner.source.examples.arrays[pictures.field], pictures.answers(), answered_rows(learner))
    begin = time.perf_counter()
    tried = 3
    judging.trained(judge, judging.Drawn(draw, bool(pictures.label), plan.seed), tried, learner.engine)
    each = (time.perf_counter() - begin) / tried
    if "judge" in task.options:
        steps, reason = int(task.options["judge"]), "you asked for it"
    else:
        seconds = allowed.seconds or 600.0
        steps = int(np.clip(JUDGING * seconds / 2 / each, *JUDGE_STEPS))
        reason = f"{steps} steps of a classifier on {len(rows):,} pictures, by whose features made ones are compared"
        options = {**task.options, "judge": steps}
        plan = replace(plan, task={**plan.task, name: TaskPlan(task.name, options)})
    # The answers of the fifth step are the judges' and the generator's; they cost little beside it.
    return plan, reason, 2 * steps * each


def answered_rows(learner: Learner) -> judging.Array:
    """Training rows that a judge can learn from: those with a class, where there are classes."""
    rows = learner.source.rows
    return rows[learner.pictures.answers()[rows] >= 0] if learner.pictures.label else rows
