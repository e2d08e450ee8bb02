"""Step 3: which recommender, how large, how long, each with its reason, into plan.toml."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.narrate import Narrator
from lamina.networks.recommenders._recommender import HISTORY
from lamina.plan import MethodPlan, NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.pace import Allowance, measured
from lamina.steps.recommend.interactions import TRAIN
from lamina.steps.recommend.learner import build
from lamina.steps.recommend.prepare import Prepared
from lamina.steps.recommend.simple import POPULAR, POPULAR_NOW
from lamina.steps.request import Request

LONG_HISTORY = 5
"""Items of a median history from which on their order is read."""
OFTEN = 20.0
"""Times that an item was had, on average, from which on a transformer is tried (MovieLens small, with 11, does better
with dense layers: recall@10 0.091 against 0.080)."""
LITTLE_TIME = 60.0
"""Seconds of a budget below which the order is not read: dense layers learn sooner."""
PASSES = 8
"""Passes over the data that a transformer needs to get ahead of dense layers."""
PACE = 3e9
"""Multiplications a second of a core, about: for a first idea of how many passes there is time for."""
FULL_CATALOGUE = 50_000
"""Items that a softmax runs over; of more, some are drawn."""
NEGATIVES = 2_000
MOST_SCORES = 8_000_000
"""Scores of items that a batch computes: what fits into fast memory, and steps that come often enough."""
HALF_LIFE, CLEARLY = 0.1, 2.0
"""Share of the training part in which an interaction comes to count half, where recent popularity is clearly better: by
so many standard errors over users."""
EPOCHS = 60.0
MOST_SEEN = 2e7
"""Interactions seen in all, at most: of many, fewer passes are needed."""
WIDTHS = ((2_000, 32), (1_000_000, 64), (20_000_000, 128))
"""(Interactions, width of the vectors): more interactions tell more of each item."""


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open.

    Args:
        plan: with data, schema and task decided.
        began: when the budget began to run, by `time.monotonic`.
        given: a whole plan of the user's to follow.

    Returns:
        The plan, and the time for training.
    """
    narrator.step("Choose")
    machine = hardware.detect()
    plan = decided(request, prepared, plan, given)
    learner = build(plan, prepared, machine.device)
    fixed = {item.partition("=")[0].strip() for item in request.sets}
    fixed |= {"training.epochs", "training.precision"} if given is not None else set()
    each = 1 / max(len(prepared.validation), 1)
    # The fifth step answers the test part here and in the sealed model, and by the simpler recommenders.
    asked = each * len(prepared.test) * (3 + len(prepared.simpler))
    plan, reasons, allowed = measured(plan, learner, machine, fixed, began, lambda scoring: scoring * asked)
    plan = replace(plan, reasons={**plan.reasons, **reasons})
    for key in (
        f"network.{HISTORY}.name",
        "method.half_life",
        "method.negatives",
        "training.threads",
        "training.precision",
        "training.epochs",
    ):
        if key in plan.reasons:
            narrator.say(f"{key.rpartition('.')[2] if 'network' not in key else 'network'}: {plan.reasons[key]}")
    narrator.say(f"{sum(value.numel() for value in learner.network.parameters()):,} weights")
    return plan, allowed


def decided(request: Request, prepared: Prepared, plan: Plan, given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring."""
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in ("data", "task", "seed", "schema")]
    wishes = {item.partition("=")[0].strip(): "you asked for it" for item in sets}
    if given is not None:
        return replace(
            given, data=plan.data, schema=plan.schema, task=plan.task, budget=plan.budget, seed=plan.seed,
            name=plan.name, reasons={**plan.reasons, **given.reasons, **wishes},
        ).with_set(sets)  # fmt: skip
    found = prepared.interactions
    rows = found.rows_of(TRAIN)
    asked = [item.partition("=")[2].strip().strip('"') for item in sets if _names_network(item)]
    width = next((width for most, width in WIDTHS if rows <= most), WIDTHS[-1][1])
    items = len(found.catalogue)
    name, reason = _network(prepared, plan.budget, 3.0 * rows * min(items, FULL_CATALOGUE) * width)
    name = asked[-1] if asked else name
    options: dict[str, float] = {"half_life": _half_life(prepared), "negatives": 0}
    reasons = {
        f"network.{HISTORY}.name": f"{name}: {'you asked for it' if asked else reason}",
        "method.name": "next_item: every position of a history says what was wanted next",
    }
    if options["half_life"]:
        reasons["method.half_life"] = (
            f"{options['half_life']:g}: what is popular now differs from what always was, so what is older counts less"
        )
    if items > FULL_CATALOGUE:
        options["negatives"] = NEGATIVES
        reasons["method.negatives"] = f"{NEGATIVES:,}: of {items:,} items, some are drawn to compare with"
    compared = int(options["negatives"]) or items
    history = int(plan.task["recommended"].options["history"])
    positions = max(256, min(MOST_SCORES // compared, 8192, rows // 8))
    training = TrainingPlan(
        epochs=round(max(min(EPOCHS, MOST_SEEN / max(rows, 1)), 1.0), 1),
        batch_size=max(4, round(positions / min(history, max(rows / len(found.users), 1)))),
        clip=1.0, ema=0.0, patience=6, evaluations=20,
    )  # fmt: skip
    plan = replace(
        plan,
        network={HISTORY: NetworkPlan(name, tuple(prepared.encoders), {"width": width})},
        method=MethodPlan("next_item", options),
        optimizer=OptimizerPlan("adamw", 2e-3, 0.05, beta2=0.98),
        schedule=SchedulePlan("one_cycle", 0.1),
        training=training,
        reasons={**plan.reasons, **reasons, **wishes},
    )
    return plan.with_set(sets)


def _names_network(item: str) -> bool:
    key = item.partition("=")[0].strip()
    return key in ("network.name", f"network.{HISTORY}.name")


def _network(prepared: Prepared, budget: float, work: float) -> tuple[str, str]:
    """(Recommender, reason), by how long histories are, and by the time there is.

    Args:
        work: multiplications of one pass over the data.
    """
    lengths = np.diff(prepared.interactions.starts)
    median = float(np.median(lengths[lengths > 0]))
    if median < LONG_HISTORY:
        return "two_tower", f"half of the users have fewer than {LONG_HISTORY} items: their order says little"
    each = float(np.mean(prepared.interactions.counts))
    if each < OFTEN:
        return "two_tower", f"an item was had {each:.0f} times on average: too seldom to learn what follows what"
    machine = hardware.detect()
    passes = (budget or DEFAULT_SECONDS) * PACE * machine.cores / work if machine.device.type == "cpu" else math.inf
    if (budget and budget < LITTLE_TIME) or passes < PASSES:
        return "two_tower", "there is little time, and dense layers learn sooner than a transformer"
    return "sequential", f"half of the users have {median:.0f} items or more, and a transformer reads their order"


def _half_life(prepared: Prepared) -> float:
    """Short where popularity of late foretold the validation part better than that of all time; 0: all count alike."""
    each = {one.name: one.each for one in prepared.simpler}
    gain = each[POPULAR_NOW] - each[POPULAR]
    return HALF_LIFE if gain.mean() > CLEARLY * gain.std() / math.sqrt(len(gain)) else 0.0
