"""Step 3: method, networks, optimizer and number of steps, each with its reason, into plan.toml."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from lamina import registry
from lamina.choose import hardware
from lamina.choose.networks import groups
from lamina.environments import World
from lamina.narrate import Narrator
from lamina.networks.blocks.options import read_options
from lamina.plan import NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.control.player import LEAST_EPISODES, Player, build, check_suits, features_of
from lamina.steps.control.prepare import TEST_EPISODES, Simpler
from lamina.steps.control.working import workers_for
from lamina.steps.pace import available, threads_for
from lamina.steps.request import Request
from lamina.steps.settings import check_wishes

DEFAULT_SECONDS = 600.0
"""Training time that is aimed at where no budget is given."""
MEASURED, FIRST = 3.0, 3
"""Seconds of learning on trial, to know the pace, and how many batches that takes at least."""
MOST_STEPS = 20_000_000
FEWEST_EVALUATIONS, EVALUATIONS = 5, 12
"""Validations: where they would take longer than the learning, and otherwise."""
VALIDATED = 1 / 3
"""The most of a budgeted training's time that validations take: else they play fewer episodes, or there are fewer."""
TRIED = 0.1
"""The most of that time, or of the steps that were asked for, for learning on trial."""
SMALL = 20_000
"""Weights of a policy of dense layers below which no threads are tried: two would wait for each other all the time."""
TESTED = 0.1
"""The least of a budget in which as many test episodes are played as there is time for."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a method that suit most environments.

    Attributes:
        learning_rate: of Adam.
        schedule: of the learning rate.
        network: options of dense layers.
        steps: in the environment, that it profits from where there is no budget.
        options: of the method.
        validated: steps of validations, about, for each step that is learned from; the fewer, the quicker a step is
            learned from.
        reason: why this method.
    """

    learning_rate: float
    schedule: SchedulePlan
    network: dict[str, Any]
    steps: int
    options: dict[str, Any]
    validated: float
    reason: str


RECIPES: dict[str, Recipe] = {
    "ppo": Recipe(
        1e-3, SchedulePlan("linear", 0.0), {"width": 64, "depth": 2, "activation": "tanh"}, 1_000_000, {}, 0.3,
        "the method that needs the least tuning, and it learns from many copies at once",
    ),
    "dqn": Recipe(
        # A falling rate keeps what was reached: at a constant one policies come and go to the end.
        5e-4, SchedulePlan("linear", 0.0), {"width": 256, "depth": 2, "activation": "relu"}, 400_000, {}, 3.0,
        "values of actions, learned from a memory of what has happened",
    ),
    "sac": Recipe(
        1e-3, SchedulePlan("constant", 0.0), {"width": 256, "depth": 2, "activation": "relu"}, 100_000, {}, 3.0,
        "actions are bounded numbers: it needs the fewest steps in the environment for these",
    ),
}  # fmt: skip


def choose(
    request: Request,
    world: World,
    plan: Plan,
    narrator: Narrator,
    *,
    random: Simpler,
    began: float,
    given: Plan | None = None,
) -> tuple[Plan, float]:
    """Fill in all that the plan leaves open.

    Args:
        plan: with data, schema and task decided.
        random: how acting at random went, for the pace of the environment.
        began: when the budget began to run, by `time.monotonic`.
        given: a whole plan of the user's to follow.

    Returns:
        The plan, and the seconds that training may take (0: no limit).
    """
    narrator.step("Choose")
    sets = _sets(request)
    plan = decided(world, plan, sets, given)
    machine = hardware.detect()
    keys = {item.partition("=")[0].strip() for item in sets}
    fixed = keys if given is None else {*keys, *_FIXED}
    plan, why = _working(plan, world, machine, fixed, random, began)
    player = build(plan, world, machine.device)
    try:
        plan, reasons, seconds = _measured(plan, player, machine, fixed, random, began)
    finally:
        player.close()
    plan = replace(plan, reasons={**plan.reasons, **why, **reasons})
    weights = sum(value.numel() for value in player.method.policy.parameters())
    for key in ("method.name", *(f"network.{name}.name" for name in plan.network)):
        if key in plan.reasons:
            narrator.say(f"{key.removesuffix('.name')}: {plan.reasons[key]}")
    narrator.say(f"{weights:,} weights in the policy")
    narrator.say(f"threads: {plan.reasons.get('training.threads', plan.training.threads)}")
    narrator.say(f"workers: {plan.reasons.get('training.workers', plan.training.workers)}")
    narrator.say(f"steps: {plan.reasons.get('training.steps', plan.training.steps)}")
    if "training.evaluations" in reasons:
        narrator.say(f"validations: {reasons['training.evaluations']}")
    return plan, seconds


_FIXED = ("training.steps", "training.threads", "training.workers", "training.evaluations")


def decided(world: World, plan: Plan, sets: Collection[str], given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring.

    Raises:
        InputError: a name, option or value that does not exist, or a method that does not suit the actions.
    """
    reasons = {**plan.reasons, **{item.partition("=")[0].strip(): "you asked for it" for item in sets}}
    if given is not None:
        plan = replace(given, data=plan.data, schema=plan.schema, task=plan.task, seed=plan.seed, budget=plan.budget)
        plan = replace(plan.with_set(sets), reasons=reasons)
        check_suits(plan.method.name, world)
        return plan
    asked = [
        item.partition("=")[2].strip().strip('"') for item in sets if item.replace(" ", "").startswith("method.name=")
    ]
    name = asked[-1] if asked else suited(world)
    check_suits(name, world)
    recipe = RECIPES[name]
    networks, why = _networks(world, recipe)
    reasons = {"method.name": f"{name}: {recipe.reason}", **why, **reasons}
    plan = replace(
        plan,
        network=networks,
        method=replace(plan.method, name=name, options=dict(recipe.options)),
        optimizer=OptimizerPlan("adam", recipe.learning_rate, 0.0),
        schedule=recipe.schedule,
        training=TrainingPlan(
            epochs=1.0, steps=recipe.steps, batch_size=1, clip=0.5, threads=0, evaluations=EVALUATIONS
        ),
        reasons=reasons,
    )
    return plan.with_set(sets)


def suited(world: World) -> str:
    """The method that is likely to do best."""
    bounded = all(abs(value) < float("inf") for value in (*world.actions.low, *world.actions.high))
    return "sac" if world.actions.kind == "continuous" and bounded else "ppo"


def _networks(world: World, recipe: Recipe) -> tuple[dict[str, NetworkPlan], dict[str, str]]:
    features = features_of(world)
    plans: dict[str, NetworkPlan] = {}
    reasons: dict[str, str] = {}
    for key, fields in groups(features).items():
        kind = features[fields[0]].kind
        name = {"image": "convolutional", "series": "recurrent"}.get(kind, "dense")
        options = {"dense": recipe.network, "recurrent": {"width": 64, "embedding": 64, "dropout": 0.0,
                   "bidirectional": False}}.get(name, {})  # fmt: skip
        plans[key] = NetworkPlan(name, fields, dict(options))
        reasons[f"network.{key}.name"] = f"{name}: {_WHY[name]}"
    return plans, reasons


_WHY = {
    "dense": "few numbers describe the situation: small dense layers decide quickly",
    "convolutional": "pictures are read by plain convolutions",
    "recurrent": "what happened before is read by a recurrent network",
}


def _working(
    plan: Plan, world: World, machine: hardware.Hardware, fixed: Collection[str], random: Simpler, began: float
) -> tuple[Plan, dict[str, str]]:
    """(Plan with worker processes, reasons), from a trial where the environment is slow."""
    if "training.workers" in fixed:
        return plan, {}
    module = registry.module("methods", plan.method.name)
    options = read_options(module.Options, plan.method.options, "method.options")
    seconds = available(plan.budget, time.monotonic() - began, _testing(plan, random)) or DEFAULT_SECONDS
    step = random.playing / max(random.steps, 1)
    workers, why = workers_for(
        world,
        plan.seed,
        copies=options.copies,
        cores=machine.cores,
        step=step,
        stepping=plan.training.steps * step if "training.steps" in fixed else seconds,
    )
    return replace(plan, training=replace(plan.training, workers=workers)), {"training.workers": why}


def _testing(plan: Plan, random: Simpler) -> float:
    """Seconds of the budget to keep for the test episodes."""
    return min(random.playing / len(random.returns) * TEST_EPISODES, TESTED * plan.budget)


def _measured(
    plan: Plan, player: Player, machine: hardware.Hardware, fixed: Collection[str], random: Simpler, began: float
) -> tuple[Plan, dict[str, str], float]:
    """(Plan with threads and steps, reasons, seconds for training), from learning for a moment on trial."""
    episode = random.playing / len(random.returns)
    testing = _testing(plan, random)
    seconds = available(plan.budget, time.monotonic() - began, testing)
    steps, batches = plan.training.steps, player.source.batches(0)
    pace = random.steps / max(random.playing, 1e-9)
    # Where the environment is so slow that a trial is not worth its time, learning takes little beside it.
    worth = TRIED * seconds * pace if seconds else math.inf
    known = TRIED * steps if "training.steps" in fixed else math.inf
    threads, reasons = _threads(plan, player, machine, batches, min(worth, known))
    seconds = available(plan.budget, time.monotonic() - began, testing)
    if "training.steps" not in fixed:
        if player.before + FIRST * player.each < worth:
            pace = _pace(player, batches)
            seconds = available(plan.budget, time.monotonic() - began, testing)
        # A fifth for validation, saving, and a pace that changes as episodes do.
        affordable = int(0.8 * pace * (seconds or DEFAULT_SECONDS))
        wanted = MOST_STEPS if seconds else steps
        steps = max(min(wanted, affordable), 1)
        reasons["training.steps"] = f"{steps:,}, at {pace:,.0f} a second as measured" + (
            ": what the budget has time for" if seconds else ""
        )
    training = replace(plan.training, threads=threads, steps=steps)
    if "training.evaluations" not in fixed:
        longest = player.episodes * player.world.longest
        often = evaluations(steps, longest, RECIPES[plan.method.name].validated)
        most = max(int(VALIDATED * seconds / max(LEAST_EPISODES * episode, 1e-9)), 1) if seconds else often
        if most < often:
            why = f"the budget has no time for {often}, of {LEAST_EPISODES} episodes at least"
            reasons["training.evaluations"] = f"{most}: {why}"
        training = replace(training, evaluations=min(often, most))
    return replace(plan, training=training), reasons, seconds


def validation_seconds(plan: Plan, seconds: float) -> float:
    """What one validation may take of a training of so many seconds (0: no limit)."""
    return VALIDATED * seconds / max(plan.training.evaluations, 1) if seconds else math.inf


def evaluations(steps: int, validation: int, share: float) -> int:
    """How often to validate.

    Args:
        steps: in the environment that are learned from.
        validation: steps that one validation takes at most; 0 where nobody knows.
        share: steps of all validations, about, for each of those.

    >>> evaluations(1_000_000, 20_000, 0.3), evaluations(100_000, 10_000, 0.3), evaluations(100_000, 0, 0.3)
    (12, 5, 12)
    """
    if not validation:
        return EVALUATIONS
    return int(min(max(share * steps / validation, FEWEST_EVALUATIONS), EVALUATIONS))


def _threads(
    plan: Plan, player: Player, machine: hardware.Hardware, batches: Iterator[tuple[int, Any]], most: float
) -> tuple[int, dict[str, str]]:
    """(Threads, which are set; reasons): the plan's, or those that were fastest on trial; the player is spoilt by it.

    Args:
        batches: of the player's experience.
        most: steps in the environment that a trial may take.
    """
    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
        return plan.training.threads, {}
    dense = all(part.name == "dense" for part in plan.network.values())
    weights = sum(value.numel() for value in player.method.policy.parameters())
    # A step of all copies may give several batches: what gathers is to be a part of every call.
    together = max(1, round(player.vectors[0].number / player.each))
    numbers = machine.cores.bit_length() + 1
    if dense and weights < SMALL:
        threads, why = 1, "1: layers this small are quickest with one thread"
    elif machine.cores > 1 and player.before + 2 * numbers * together * player.each < most:

        def step() -> None:
            for _ in range(together):
                player.method.update(next(batches)[1], player.engine)

        threads, _, reasons, _ = threads_for(step, plan, machine)
        return threads, dict(reasons)
    else:
        threads = 1 if dense else machine.cores
        why = f"{threads}: {'few layers gain little by more' if dense else 'all cores'}; a trial is not worth its time"
    torch.set_num_threads(threads)
    return threads, {"training.threads": why}


def _pace(player: Player, batches: Iterator[tuple[int, Any]]) -> float:
    """Steps in the environment a second, gathering and learning; the player is spoilt by it.

    Args:
        batches: of the player's experience.
    """
    begin = time.perf_counter()
    clock, counted = begin, 0
    for done, (_, batch) in enumerate(batches, 1):
        player.method.update(batch, player.engine)
        now = time.perf_counter()
        if done < FIRST:
            # The first ones gather what fills a memory, and warm up.
            clock, counted = now, done
        elif now - begin > MEASURED:
            break
    return max(player.each * (done - counted) / max(time.perf_counter() - clock, 1e-9), 1.0)


def check(request: Request, world: World, plan: Plan, given: Plan | None = None) -> None:
    """Find what is wrong with the wishes for method, networks and training before any time is spent.

    Raises:
        InputError: a name, option or value that does not exist, or a method that does not suit the actions.
    """
    wished = decided(world, plan, _sets(request), given)
    check_wishes(wished, request)
    build(wished, world, torch.device("cpu"), acting=False).close()


def _sets(request: Request) -> list[str]:
    early = ("data", "task", "seed", "schema")
    return [item for item in request.sets if item.split(".")[0].split("=")[0] not in early]
