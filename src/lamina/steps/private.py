"""Private training in a run: what it leaves out, how much noise it takes, its secret, and what the model says of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from lamina import launched
from lamina.choose.networks import TABLE
from lamina.data.audit import AuditFinding
from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.files import write_bytes
from lamina.learn.privacy import SECRET_BYTES, Private, epsilon, noise_for
from lamina.networks import Remembering
from lamina.plan import NetworkPlan, Plan
from lamina.run import Run
from lamina.steps.learner import Learner

FIXED = frozenset(("training.batch_size", "training.most_epochs", "training.precision", "training.compile"))
"""Settings that are not decided by looking at the training."""
LEAST_BATCH, MOST_BATCH, BATCHES = 64, 2048, 20
"""Rows of a batch, and how many batches a pass has at least: larger ones drown in less noise (Abadi et al. 2016)."""
FASTER = 5.0
"""Times the usual rate: most of a noisy gradient is no direction, and Adam and its like shorten their steps by it."""
SIMPLE = "one network of few weights, for noise is added to each"
UNBOUND = "The simpler tools learned without privacy: what they tell of a row is not bounded."
OFF: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "balance": "none", "find_rate": False, "patience": 0}
"""What looks at more than one row at a time, or at the training rows besides."""
COVERED = (
    "This holds for the weights, against who knows all other rows. It does not hold for what was read off the training "
    "rows before (which values there are, their means and ranges, the classes), for the validation rows, by which "
    "probabilities were calibrated, nor for the report and the log, which stay with whoever trained."
)


def wanted(plan: Plan) -> bool:
    """Is the training to be private?"""
    return plan.privacy.epsilon != 0


def simple(asked: Mapping[str, NetworkPlan], sets: Collection[str]) -> dict[str, NetworkPlan]:
    """For tables, where private training is asked for and no network is: a simple one. What an ensemble gains is less
    than the noise on its weights costs."""
    if not wanted(Plan().with_set(item for item in sets if item.startswith("privacy."))):
        return {}
    open_ = {key: part for key, part in asked.items() if not part.name and not part.weights}
    return {key: replace(part, name="mlp") for key, part in open_.items() if key.startswith(TABLE)}


def settled(plan: Plan, keys: Collection[str], rows: int) -> tuple[Plan, dict[str, str]]:
    """(The plan without what private training has no place for, reasons).

    Args:
        keys: settings that the user asked for.
        rows: of the training part.

    Raises:
        InputError: such a thing was asked for, or numbers that promise nothing.
    """
    asked, training = plan.privacy, plan.training
    _check(plan, rows)
    if "privacy.noise" in keys:
        raise InputError(
            "The noise follows from epsilon, delta and the number of steps.",
            where="privacy.noise",
            fix="Give --set privacy.epsilon=... instead.",
        )
    for name, off in OFF.items():
        if f"training.{name}" in keys and getattr(training, name) != off:
            raise InputError(
                f"Private training goes without training.{name}: it looks at several rows together, or at the training "
                "rows besides.",
                where=f"training.{name}",
                fix="Leave it out.",
            )
    delta = asked.delta or float(f"{0.1 / rows:.1g}")
    size = training.batch_size
    if "training.batch_size" not in keys:
        size = max(min(max(LEAST_BATCH, rows // BATCHES), MOST_BATCH, rows), 1)
    training = replace(
        training, **OFF, batch_size=size, most_epochs=0.0, accumulation=1, clip=0.0, precision="fp32", compile=False,
        keep="last",
    )  # fmt: skip
    optimizer = plan.optimizer
    if "optimizer.learning_rate" not in keys and not plan.privacy.noise:
        optimizer = replace(optimizer, learning_rate=FASTER * optimizer.learning_rate)
    reasons = {
        "training.batch_size": f"{size} on average: each row by a chance of its own, many for the noise to matter less",
        "training.keep": "last: which weights score best is not asked",
    }
    if optimizer != plan.optimizer:
        reasons["optimizer.learning_rate"] = f"{optimizer.learning_rate:g}: higher than usual, for gradients are noisy"
    return replace(plan, training=training, optimizer=optimizer, privacy=replace(asked, delta=delta)), reasons


def _check(plan: Plan, rows: int) -> None:
    asked = plan.privacy
    if not asked.epsilon > 0 or not asked.clip > 0 or not 0 <= asked.delta < 1:
        raise InputError(
            f"epsilon is {asked.epsilon:g}, delta {asked.delta:g}, clip {asked.clip:g}.",
            where="privacy",
            fix="Give an epsilon and a clip above 0 (epsilon of 1 to 10 is usual) and a delta below 1.",
        )
    if asked.delta * rows >= 1:
        raise InputError(
            f"With a delta of {asked.delta:g} one of {rows:,} rows may be told whole.",
            where="privacy.delta",
            fix=f"Give much less than {1 / rows:.1g}, or leave it out.",
        )
    if launched.place() is not None:
        raise InputError(
            "Private training goes on in one process.", where="privacy.epsilon", fix="Start it without a launcher."
        )
    if plan.method.name != "supervised":
        raise InputError(
            f"The method {plan.method.name!r} cannot train privately.", where="privacy.epsilon", fix="Leave it out."
        )


def arm(learner: Learner, plan: Plan, secret: bytes) -> None:
    """Let the learner take private steps; with any noise, where none was found yet.

    Raises:
        InputError: a network keeps what is in the training rows.
    """
    for name in learner.network.names:
        if isinstance(learner.network.network(name), Remembering):
            raise InputError(
                f"The network {plan.network[name].name!r} keeps which values the training rows have together.",
                where=f"network.{name}.name",
                fix=f"Choose another, e.g. --set network.{name}.name=mlp",
            )
    size = learner.source.batch_size
    learner.engine.private = Private(plan.privacy.clip, plan.privacy.noise or 1.0, size, secret)
    learner.source = replace(learner.source, secret=secret)


def calibrated(plan: Plan, learner: Learner) -> tuple[Plan, dict[str, str]]:
    """(The plan with the noise that its steps need, the reason).

    Raises:
        InputError: no noise suffices.
    """
    asked, rows = plan.privacy, len(learner.source.rows)
    steps, rate = learner.steps_in(plan.training.epochs), learner.source.batch_size / rows
    noise = noise_for(asked.epsilon, rate, steps, asked.delta)
    reason = (
        f"{noise:g}: with it {steps:,} steps of {rate:.2%} of the {rows:,} rows tell at most epsilon {asked.epsilon:g} "
        f"(delta {asked.delta:g}) of a row"
    )
    return replace(plan, privacy=replace(asked, noise=noise)), {"privacy.noise": reason}


def secret_of(run: Run) -> bytes:
    """The run's secret, made on the first call; who has it can take the noise away."""
    file = run.folder / "secret.key"
    if not file.exists():
        # Nobody else may read it, not even for a moment.
        before = os.umask(0o077)
        try:
            write_bytes(file, os.urandom(SECRET_BYTES))
        finally:
            os.umask(before)
    return file.read_bytes()


def forget(run: Run) -> None:
    """Training has ended: nobody needs the secret any more."""
    (run.folder / "secret.key").unlink(missing_ok=True)


def told(plan: Plan, learner: Learner, steps: int) -> dict[str, Json]:
    """What is promised, after so many steps."""
    asked, rows = plan.privacy, len(learner.source.rows)
    rate = learner.source.batch_size / rows
    found = epsilon(rate, asked.noise, steps, asked.delta)
    sentence = (
        f"Trained privately: adding or leaving out a training row changes how likely any weights are by at most "
        f"epsilon {found:.2f} (a factor of e^{found:.2f}), but for a chance of delta {asked.delta:g}. {COVERED}"
    )
    return {
        "epsilon": found, "delta": asked.delta, "noise": asked.noise, "clip": asked.clip, "rows": rows,
        "sampling rate": rate, "steps": steps, "told": sentence,
    }  # fmt: skip


def finding(privacy: dict[str, Json]) -> AuditFinding:
    """The promise as the report has it."""
    return AuditFinding("privacy", "note", str(privacy["told"]), 0, (), "Give nobody the report, the log or the data.")
