"""Step 3 without answers: method, networks, views of the rows, epochs, each with its reason, into plan.toml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lamina.choose import hardware
from lamina.choose import networks as choose_networks
from lamina.choose import training as choose_training
from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.narrate import Narrator
from lamina.plan import MethodPlan, NetworkPlan, Plan
from lamina.steps.choose import networks_asked, of_inputs
from lamina.steps.learner import shuffled
from lamina.steps.measure import measure
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.settings import check_wishes
from lamina.steps.unlabelled.labels import Array
from lamina.steps.unlabelled.learner import asked, build, check_method
from lamina.steps.unlabelled.questions import question

METHODS = {
    "contrastive": "two views of a row should mean the same, and different rows should not",
    "masked": "hidden fields are guessed from the others",
    "autoencoder": "what cannot be put together again from a narrow description is strange",
}
OF_PICTURES = (
    "; it finds faults in one place and says where, but where strange pictures show another kind of thing, "
    "--set method.name=transformations is the better choice"
)
"""Which of the two it will be nobody can tell from ordinary pictures."""
EPOCHS = {
    "contrastive": 200.0,
    "masked": 200.0,
    "autoencoder": 100.0,
    "one_class": 60.0,
    "transformations": 100.0,
    "anogan": 200.0,
}
"""Passes over the rows that a method profits from, where there is time."""
EPOCHS_OF_WINDOWS = 350.0
"""Of an autoencoder's passes over the windows of one long series: most of a window is in the one before it as well."""
MOST_NUMBERS = 1024
"""Of a window, up to which dense layers read it."""
BY_STAGES = ("anogan",)
"""Methods whose losses do not compare over the whole training, for what they are measured by is still learned: no
evaluation in the middle is the best of all."""
TOLD = ("training.shuffle", "training.epochs")
MOST_SEEN = 5e6
LEAST_BATCH = 64

VIEWS: dict[str, dict[str, Any]] = {
    "image": {"crop": 0.6, "brightness": 0.3, "contrast": 0.3, "erase": 0.25},
    "spectrogram": {"time_shift": 0.3, "time_mask": 0.3, "frequency_mask": 0.3, "gain": 6.0, "noise": 0.2},
    "series": {"jitter": 0.2, "scale": 0.2, "shift": 0.15, "warp": 0.1},
    "tokens": {"drop": 0.3},
}
"""How differently two views of a row may look: far more than a classifier is shown (Chen et al. 2020)."""


def choose(
    request: Request,
    prepared: Prepared,
    plan: Plan,
    narrator: Narrator,
    *,
    rows: tuple[Array, Array],
    began: float,
    given: Plan | None = None,
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open; arguments as of `lamina.steps.choose.choose`.

    Args:
        rows: training and validation rows to learn from.
    """
    narrator.step("Choose")
    machine = hardware.detect()
    plan = decided(request, prepared, plan, given)
    learner = build(plan, prepared, machine.device, request.base, rows)
    for note in learner.notes:
        narrator.say(note)
    fixed = {item.partition("=")[0].strip() for item in request.sets} | {"training.compile"}
    fixed |= {"training.precision", "training.batch_size"} if given is not None else set()
    name, task = asked(plan)
    judged = bool(prepared.schema.with_role("label"))
    effort = question(task).effort(plan.task[name].options, prepared.split, judged)
    plan, measured, allowed = measure(
        plan, learner, machine, fixed, prepared, began, answers=effort.answers, testing=effort.seconds
    )
    plan = replace(plan, reasons={**plan.reasons, **measured})
    for key in ("method.name", *(f"network.{name}.name" for name in plan.network), *TOLD):
        if key in plan.reasons:
            narrator.say(f"{key.removeprefix('training.').removesuffix('.name')}: {plan.reasons[key]}")
    narrator.say(f"{sum(value.numel() for value in learner.network.parameters()):,} weights while it learns")
    return plan, allowed


def check(request: Request, prepared: Prepared, plan: Plan, given: Plan | None = None) -> None:
    """Find what is wrong with the wishes before any time is spent.

    Raises:
        InputError: a name, option or value that does not exist.
    """
    name, task = asked(plan)
    question(task).check(plan.task[name].options, len(prepared.split.train))
    wished = decided(request, prepared, plan, given)
    check_wishes(wished, request)
    learner = build(wished, prepared, torch.device("cpu"), request.base)
    _, batch = next(learner.source.batches(0))
    learner.method.judge(batch)


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
        _check_kept(plan)
        return plan
    rows = len(prepared.split.train)
    task = asked(plan)[1]
    method = question(task).method(features)
    wished = [item.partition("=")[2].strip().strip('"') for item in sets if item.startswith("method.name=")]
    name = wished[-1] if wished else method
    windows = name == "autoencoder" and bool(plan.task[asked(plan)[0]].options.get("window"))
    own = networks_asked(request, list(choose_networks.groups(features)))
    dense: dict[str, str] = {}
    for key, fields in choose_networks.groups(features).items():
        found = _dense([features[field] for field in fields], windows)
        if found is not None and not own[key].name and not own[key].weights:
            options, dense[f"network.{key}.name"] = found
            own[key] = replace(own[key], name="mlp", options={**options, **own[key].options})
    networks, why = choose_networks.choose(features, rows, own, request.base)
    why |= dense
    networks = {name: _quiet(part) for name, part in networks.items()}
    optimizer, schedule, training, more = choose_training.choose(networks, features, rows, classify=False)
    options = {"gives": "anomaly" if task == "anomaly" else "embed"} if name == "autoencoder" else {}
    views = {field: dict(VIEWS[feature.kind]) for field, feature in features.items() if feature.kind in VIEWS}
    for field, feature in features.items():
        if feature.kind == "image":
            views[field] |= {key: value for key, value in training.augment.get(field, {}).items() if key == "flip"}
    wanted = EPOCHS_OF_WINDOWS if windows else EPOCHS.get(name, training.epochs)
    epochs = max(min(wanted, MOST_SEEN / rows), training.epochs)
    training = replace(
        training,
        epochs=round(epochs, 1),
        batch_size=max(training.batch_size, min(LEAST_BATCH, rows)),
        augment=views if name == "contrastive" else {},
        label_smoothing=0.0,
        patience=0,
        evaluations=12,
        keep="last" if name in BY_STAGES else training.keep,
    )
    told = METHODS[name] if name == method else ""
    if told and task == "anomaly" and [feature.kind for feature in features.values()] == ["image"]:
        told += OF_PICTURES
    reasons = {**plan.reasons, **why, **more, "method.name": f"{name}: {told}".rstrip(": ")}
    reasons.pop("training.augment", None)
    if training.augment:
        reasons["training.augment"] = "how two views of a row differ: far more than a classifier is shown"
    reasons["training.epochs"] = f"{training.epochs:g}: without answers every row tells little at a time"
    plan = replace(
        plan, network=networks, optimizer=optimizer, schedule=schedule, training=training,
        method=MethodPlan(name, options), reasons=reasons,
    )  # fmt: skip
    plan = shuffled(plan, prepared)
    plan = replace(plan, reasons={**plan.reasons, **wishes})
    plan = plan.with_set(item for item in sets if not of_inputs(item, own))
    check_method(plan, features)
    _check_kept(plan)
    return plan


def _dense(features: Sequence[Feature], windows: bool) -> tuple[dict[str, Any], str] | None:
    """(Options, why) of dense layers for the fields of one network, where they describe rows best.

    Args:
        windows: an autoencoder reads windows of one long series.
    """
    if {feature.kind for feature in features} <= set(choose_networks.PLAIN):
        why = "an ensemble's members would each describe a row in a way of their own, one plain network does it once"
        return {"dropout": 0.0, "numeric": "auto"}, f"mlp: {why}"
    if windows and [feature.kind for feature in features] == ["series"]:
        steps, channels = features[0].shape
        if steps * channels <= MOST_NUMBERS:
            why = (
                "of a short window dense layers learn where in its period it is in a tenth of the time of convolutions"
            )
            return {}, f"mlp: {why}"
    return None


def _check_kept(plan: Plan) -> None:
    """Raises InputError where the best weights of a method by stages are to be kept: they may be half a model."""
    if plan.method.name in BY_STAGES and plan.training.keep == "best":
        raise InputError(
            f"Of the method {plan.method.name!r} the last weights are kept, not the best: its losses do not compare "
            "over the whole training, and the lowest may be that of a part which has not begun to learn.",
            where="training.keep",
            fix="Leave it out, or set training.keep=last.",
        )


def _quiet(part: NetworkPlan) -> NetworkPlan:
    """Without dropout: views and noise already differ, and a description should not depend on luck."""
    if part.weights or part.name not in ("resnet", "recurrent", "transformer", "mlp"):
        return part
    return replace(part, options={"dropout": 0.0, **part.options})
