"""Step 3: which forecaster, how large, how long, each with its reason, into plan.toml."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lamina.choose import hardware
from lamina.errors import InputError
from lamina.narrate import Narrator
from lamina.networks.forecasters._forecaster import WINDOW
from lamina.plan import NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TaskPlan, TrainingPlan
from lamina.steps.forecast.learner import build, rule_of
from lamina.steps.forecast.prepare import Prepared
from lamina.steps.measure import measure
from lamina.steps.pace import Allowance
from lamina.steps.request import Request
from lamina.tasks.forecast import RULES

LITTLE_TIME = 60.0
"""Seconds of a budget below which the smallest network is taken."""
WIDTHS = ((2_000, 64), (50_000, 128), (1_000_000, 256))
"""(Training windows, width of the hidden layers): windows overlap, so they tell less than as many rows."""
MOST_SEEN = 3e6
"""Windows seen in all, at most."""
EPOCHS = (2.0, 60.0)
JUDGED = 4_000
"""Training windows that rules are compared on."""


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open; arguments as of `lamina.steps.choose.choose`."""
    narrator.step("Choose")
    plan = decided(request, prepared, plan, given)
    learner = build(plan, prepared, hardware.detect().device)
    fixed = {item.partition("=")[0].strip() for item in request.sets} | {"training.compile"}
    fixed |= {"training.precision", "training.batch_size", "training.epochs"} if given is not None else set()
    # Answered in the fifth step: the validation part for calibration, the test part here and by the sealed model.
    answers = len(prepared.validation) + 3 * len(prepared.test)
    plan, measured, allowed = measure(
        plan, learner, hardware.detect(), fixed, None, began, answers=answers,
        testing=len(prepared.test) * sum(one.answering for one in prepared.simpler),
    )  # fmt: skip
    plan = replace(plan, reasons={**plan.reasons, **measured})
    target = next(iter(plan.task))
    for key in (
        f"task.{target}.rule",
        f"network.{WINDOW}.name",
        "training.threads",
        "training.precision",
        "training.epochs",
    ):
        if key in plan.reasons:
            narrator.say(f"{'network' if 'network' in key else key.rpartition('.')[2]}: {plan.reasons[key]}")
    narrator.say(f"{sum(value.numel() for value in learner.network.parameters()):,} weights")
    return plan, allowed


def decided(request: Request, prepared: Prepared, plan: Plan, given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring."""
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in ("data", "task", "seed", "schema")]
    wishes = {item.partition("=")[0].strip(): "you asked for it" for item in sets}
    (target, task), found = next(iter(plan.task.items())), prepared.panel
    rule, why = (str(task.options["rule"]), "you asked for it") if task.options.get("rule") else best_rule(prepared)
    _check_rule(rule, found.season, found.encoder.length, target)
    options = {**task.options, "season": found.season, "history": found.encoder.length, "rule": rule}
    tasks = {target: TaskPlan(task.name, options)}
    reasons = {
        **plan.reasons,
        f"task.{target}.rule": f"{rule}: {why}",
        f"task.{target}.history": f"{found.encoder.length} steps: seasons and horizons, as far as the data has them",
        f"task.{target}.season": f"{found.season} steps: the highest autocorrelation of the calendar's periods",
    }
    if given is not None:
        return replace(
            given, data=plan.data, schema=plan.schema, task=tasks, budget=plan.budget, seed=plan.seed,
            name=plan.name, reasons={**reasons, **given.reasons, **wishes},
        ).with_set(sets)  # fmt: skip
    windows = len(prepared.training)
    name, reason = _network(prepared, request.budget)
    asked = [item.partition("=")[2].strip().strip('"') for item in sets if _names_network(item)]
    name, reason = (asked[-1], "you asked for it") if asked else (name, reason)
    width = next((width for most, width in WIDTHS if windows <= most), WIDTHS[-1][1])
    options = {"width": width} if name in ("tide", "nhits") else {}
    reasons[f"network.{WINDOW}.name"] = f"{name}: {reason}"
    epochs = round(float(np.clip(MOST_SEEN / windows, *EPOCHS)), 1)
    plan = replace(
        plan,
        task=tasks,
        network={WINDOW: NetworkPlan(name, tuple(prepared.encoders), options)},
        optimizer=OptimizerPlan("adamw", 2e-3, 0.01),
        schedule=SchedulePlan("one_cycle", 0.1),
        training=TrainingPlan(
            epochs=epochs, batch_size=int(np.clip(windows // 50, 8, 128)), clip=1.0, ema=0.998, patience=8,
            evaluations=25,
        ),
        reasons={**reasons, **wishes},
    )  # fmt: skip
    return plan.with_set(sets)


def _check_rule(rule: str, season: int, length: int, target: str) -> None:
    """Raises InputError for a rule that looks further back than the history goes."""
    back = {"season": season, "level": season + 1}.get(rule, 1)
    if back > length:
        raise InputError(
            f"The rule {rule!r} looks back {back} steps, and the history has {length}.",
            where=f"task.{target}.options.rule",
            fix=f"Read more history: --set task.history={back}, or choose another rule, or a shorter season.",
        )


def _names_network(item: str) -> bool:
    return item.partition("=")[0].strip() in ("network.name", f"network.{WINDOW}.name")


def _network(prepared: Prepared, budget: float) -> tuple[str, str]:
    """(Forecaster, reason)."""
    if prepared.panel.encoder.feature.details["future"]:
        return "tide", "much is known of the steps to come, and its decoder reads that step by step"
    if budget and budget < LITTLE_TIME:
        return "tide", "there is little time, and dense layers learn soon"
    return "nhits", "nothing but the history is known, and its stacks read that at several paces"


def best_rule(prepared: Prepared) -> tuple[str, str]:
    """(The rule that forecasts the training part best, how well each does)."""
    found, tracks = prepared.panel, prepared.panel.tracks
    rows = np.unique(np.linspace(0, len(prepared.training) - 1, min(len(prepared.training), JUDGED)).astype(np.int64))
    windows = prepared.training.at(rows)
    inputs = tracks.windows(windows.series, windows.origins)
    length = found.encoder.length
    before = torch.from_numpy(inputs[:, :length, 0])
    center, spread = inputs[:, :1, 2], inputs[:, :1, 3]
    truth = (tracks.values(windows.series, windows.origins, np.arange(found.horizon)) - center) / spread
    weight = spread / found.units[windows.series][:, None]
    errors = {}
    for name in RULES if 1 < found.season < length else ("last", "mean"):
        answer = before @ rule_of(name, length, found.horizon, found.season).T
        errors[name] = float(np.nanmean(np.abs(answer.numpy() - truth) * weight))
    best = min(errors, key=lambda name: errors[name])
    shown = ", ".join(f"{name} {error:.3g}" for name, error in errors.items())
    return best, f"what the linear part begins as; scaled errors in the training part: {shown}"
