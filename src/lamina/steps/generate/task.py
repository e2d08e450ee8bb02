"""What sets the task "generate" apart from others that make pictures."""

from __future__ import annotations

from dataclasses import replace

from lamina.plan import MethodPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.generate.kind import Kind
from lamina.steps.generate.learner import Learner, build, trained
from lamina.steps.generate.test import test
from lamina.steps.prepare import Prepared
from lamina.tasks.generate import check_options

MOST_SEEN = 4e6
"""Pictures that training looks at, where there is time."""
MOST_EPOCHS = 400.0


def defaults(plan: Plan, prepared: Prepared) -> Plan:
    """A generator against a critic."""
    rows = len(prepared.split.train)
    epochs = round(min(MOST_SEEN / rows, MOST_EPOCHS), 1)
    reason = "adversarial: a generator learns to make what a critic cannot tell from real pictures"
    return in_a_game(plan, "adversarial", reason, epochs, min(64, rows))


def in_a_game(plan: Plan, method: str, reason: str, epochs: float, batch: int) -> Plan:
    """The plan of networks that learn against each other: they go on as long as there is time, and the best are kept.

    Args:
        reason: for the method.
        batch: pictures in a step.
    """
    training = TrainingPlan(
        epochs=epochs, batch_size=batch, clip=0.0, ema=0.999, evaluations=12, patience=0, keep="best"
    )
    return replace(
        plan,
        network={},
        method=MethodPlan(method),
        optimizer=OptimizerPlan("adam", 1e-3, weight_decay=0.0, momentum=0.0, beta2=0.99),
        schedule=SchedulePlan("cosine", warmup=0.0, final=0.05),
        training=training,
        reasons={
            **plan.reasons,
            "method.name": reason,
            "training.epochs": f"{epochs:g}: the longer the better, as far as there is time",
        },
    )


def said(learner: Learner, prepared: Prepared) -> list[str]:
    """Which classes can be asked for."""
    pictures = learner.pictures
    if pictures.label:
        return [f"classes to be asked for by name: {len(pictures.classes)}, of {pictures.label}"]
    if prepared.schema.with_role("label"):
        return ["the labels are not used: there are too few pictures of each, or one label only"]
    return []


KIND = Kind({False: 32, True: 64}, check_options, defaults, build, said, test, trained)
