"""Step 3: network, optimizer, schedule, batch size, threads and epochs, each with its reason, into plan.toml."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lamina import registry
from lamina.choose import hardware
from lamina.choose import networks as choose_networks
from lamina.choose import training as choose_training
from lamina.errors import InputError, nearest
from lamina.learn.privacy import SECRET_BYTES
from lamina.narrate import Narrator
from lamina.networks.heads import reads
from lamina.plan import NetworkPlan, Plan
from lamina.run import Run
from lamina.steps import private
from lamina.steps.inform import remember
from lamina.steps.learner import Learner, build, preparation, shuffled
from lamina.steps.measure import measure
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.settings import check_wishes
from lamina.tasks import Choosy, classify, layout_of

NO_OPTIONS = "It has none: leave that out."


@dataclass(frozen=True)
class Decided:
    """All that needs no measuring.

    Attributes:
        reasons: by dotted key.
        sets: the `--set`s that apply to networks and training.
        learner: as the plan says, on the processor.
    """

    plan: Plan
    reasons: dict[str, str]
    sets: list[str]
    learner: Learner


def choose(
    request: Request, prepared: Prepared, decided: Decided, narrator: Narrator, *, began: float, given: Plan | None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open.

    Args:
        decided: by `check`; its learner is what is measured.
        began: when the budget began to run, by `time.monotonic`.
        given: a whole plan of the user's to follow; only what depends on the machine is decided anew.

    Returns:
        The plan, and the time for training.
    """
    narrator.step("Choose")
    machine = hardware.detect()
    plan, reasons, sets, learner = decided.plan, dict(decided.reasons), decided.sets, decided.learner
    if machine.device != learner.engine.device:
        learner = build(plan, prepared, machine.device, request.base)
    if private.wanted(plan):
        # What is tried is put back; the secret of what counts is another one.
        private.arm(learner, plan, os.urandom(SECRET_BYTES))
    remember(learner, plan, prepared)
    for note in learner.notes:
        narrator.say(note)
    keys = _keys(sets)
    # A whole plan that was given says how to train; what the user has set by hand stays as well.
    fixed = keys | ({"training.precision", "training.batch_size"} if given is not None else set())
    fixed |= private.FIXED if private.wanted(plan) else set()
    plan, measured, allowed = measure(plan, learner, machine, fixed, prepared, began)
    reasons.update(measured)
    if given is None and not keys & {"optimizer.learning_rate", "training.find_rate"}:
        steps = learner.steps_in(plan.training.epochs)
        rate = choose_training.gentler(plan.optimizer.learning_rate, steps)
        if rate < plan.optimizer.learning_rate:
            reasons["optimizer.learning_rate"] = f"{rate:g}: there is time for {steps} steps only, so smaller ones"
            plan = replace(plan, optimizer=replace(plan.optimizer, learning_rate=rate))
    if given is None and not any(key.startswith("training.augment") for key in keys):
        augment = choose_training.milder(plan.training.augment, plan.training.epochs)
        if augment != plan.training.augment:
            less = f"shifted less, for each is seen about {plan.training.epochs:g} times only"
            reasons["training.augment"] = f"{reasons.get('training.augment', 'pictures are changed')}; {less}"
            plan = replace(plan, training=replace(plan.training, augment=augment))
    if private.wanted(plan):
        plan, why = private.calibrated(plan, learner)
        reasons |= why
    plan = replace(plan, reasons=reasons)
    _tell(narrator, plan, learner, reasons)
    return plan, allowed


def check(request: Request, prepared: Prepared, plan: Plan, given: Plan | None = None) -> Decided:
    """Find what is wrong with the wishes for networks and training before any time is spent on baselines.

    Args:
        plan: with data, schema and task decided.

    Raises:
        InputError: a name, option or value that does not exist, or weights that do not fit.
    """
    decided, reasons, sets = _decided(request, prepared, plan, given)
    chosen = registry.module("methods", decided.method.name)
    if hasattr(chosen, "suits"):
        raise InputError(
            f"The method {decided.method.name!r} learns by acting in an environment, not from rows.",
            where="method.name",
            fix="Leave it out, or name an environment as the data, e.g. gym:CartPole-v1.",
        )
    if serves := getattr(chosen, "GIVES", ()):
        raise InputError(
            f"The method {decided.method.name!r} does not learn answers: it serves the task {' or '.join(serves)}.",
            where="method.name",
            fix=f"Leave it out, or ask for what it serves: --task {serves[0]}",
        )
    for option in decided.method.options:
        raise InputError(
            f"The method {decided.method.name!r} has no option {option!r}.", where="method", fix=NO_OPTIONS
        )
    check_wishes(decided, request)
    learner = build(decided, prepared, torch.device("cpu"), request.base)
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    prepare = preparation(decided, features, {name: layout_of(task) for name, task in prepared.tasks.items()})
    if prepare is not None:
        _, batch = next(learner.source.batches(0))
        prepare(batch)
    return Decided(decided, reasons, sets, learner)


def _decided(
    request: Request, prepared: Prepared, plan: Plan, given: Plan | None
) -> tuple[Plan, dict[str, str], list[str]]:
    """(The plan with everything that needs no measuring, the reasons, the `--set`s that apply to it)."""
    asked: dict[str, NetworkPlan] = {}
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    rows = len(prepared.split.train)
    reasons = dict(plan.reasons)
    if given is not None:
        plan = replace(
            given,
            data=plan.data,
            schema=plan.schema,
            task=plan.task,
            budget=plan.budget,
            seed=plan.seed,
            name=plan.name,
        )
    else:
        asked = networks_asked(request, list(choose_networks.groups(features)))
        simple = private.simple(asked, request.sets)
        classes = any(isinstance(task, classify.Task) for task in prepared.tasks.values())
        accelerated = hardware.detect().device.type != "cpu"
        wanted = {reads(layout_of(task)) for task in prepared.tasks.values()} - {"vector"}
        layouts = {layout_of(task).kind for task in prepared.tasks.values()}
        choosy = next((task for task in prepared.tasks.values() if isinstance(task, Choosy)), None)
        networks, why = choose_networks.choose(
            features, rows, {**asked, **simple}, request.base, classify=classes, accelerated=accelerated, wanted=wanted,
            preferred=choosy.family if choosy else None, layouts=layouts,
        )  # fmt: skip
        optimizer, schedule, training, more = choose_training.choose(networks, features, rows, classes, layouts)
        if choosy is not None:
            training = replace(training, augment={name: dict(choosy.augmentation) for name in features})
        networks, rate, for_scratch = choose_training.rates(networks, classes)
        if rate:
            optimizer = replace(optimizer, learning_rate=rate)
            more["optimizer.learning_rate"] = f"{rate:g}: {for_scratch}"
        reasons.update(why)
        reasons.update(more)
        reasons.update({f"network.{key}.name": f"{part.name}: {private.SIMPLE}" for key, part in simple.items()})
        plan = replace(plan, network=networks, optimizer=optimizer, schedule=schedule, training=training)
        plan = shuffled(plan, prepared)
        reasons = {**plan.reasons, **reasons}
    early = {"data", "task", "seed", "schema"}
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in early]
    if given is None:
        # Apart from those beside them: with two networks, "network.dropout" could mean either.
        own = Plan(network={key: part for key, part in plan.network.items() if key in asked})
        own = own.with_set(item for item in sets if of_inputs(item, asked))
        plan = replace(plan, network={**plan.network, **own.network})
        plan = plan.with_set(item for item in sets if not of_inputs(item, asked))
    else:
        plan = plan.with_set(sets)
    if private.wanted(plan):
        plan, why = private.settled(plan, _keys(sets), rows)
        reasons |= why
    reasons.update({item.partition("=")[0]: "you asked for it" for item in sets})
    return plan, reasons, sets


def _keys(sets: list[str]) -> set[str]:
    return {item.partition("=")[0].strip() for item in sets}


def networks_asked(request: Request, keys: list[str]) -> dict[str, NetworkPlan]:
    """What the user says about networks: `--set network...` and `--weights`."""
    plan = Plan(network={key: NetworkPlan() for key in keys})
    plan = plan.with_set(item for item in request.sets if of_inputs(item, keys))
    asked: dict[str, NetworkPlan] = dict(plan.network)
    for item in request.weights:
        for key, path in _weights_for(item, keys, request.base):
            asked[key] = replace(asked[key], weights=path)
    return asked


def _weights_for(item: str, keys: list[str], base: Path) -> list[tuple[str, str]]:
    """(network, path) of one --weights argument; a run with several networks serves all those of the same names."""
    run = Run(base / Path(item).expanduser())
    if "=" not in item and run.plan_file.is_file():
        served = [key for key in keys if key in run.plan().network]
        if len(served) > 1:
            return [(key, item) for key in served]
    return [weights_for(item, keys)]


def of_inputs(item: str, networks: Collection[str]) -> bool:
    """Is a `--set` about the network of an input, rather than about one beside it, or about something else?"""
    beside = tuple(f"network.{choose_networks.companion(name)}." for name in networks)
    return item.startswith("network.") and not item.startswith(beside)


def weights_for(item: str, keys: list[str]) -> tuple[str, str]:
    """(network, path) of one --weights argument: "FIELD=PATH", or "PATH" for the only network that is no table's."""
    name, equals, path = item.partition("=")
    if equals:
        if name not in keys:
            raise InputError(f"There is no network {name!r}.", where="--weights", fix=nearest(name, keys))
        return name, path
    rich = [key for key in keys if not key.startswith(choose_networks.TABLE)] or keys
    if len(rich) != 1:
        raise InputError(
            f"Several networks could take the weights in {item}.",
            where="--weights",
            fix=f"Say which: --weights {rich[0]}={item}",
        )
    return rich[0], item


def _tell(narrator: Narrator, plan: Plan, learner: Learner, reasons: Mapping[str, str]) -> None:
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    for key, part in plan.network.items():
        narrator.say(f"network for {key}: {reasons.get(f'network.{key}.name', part.name)}")
    narrator.say(f"{parameters:,} weights")
    told = ("batch_size", "shuffle", "threads", "precision", "compile", "epochs")
    for key in ("optimizer", "schedule", *(f"training.{name}" for name in told)):
        if key in reasons:
            narrator.say(f"{key.removeprefix('training.').replace('_', ' ')}: {reasons[key]}")
    if "privacy.noise" in reasons:
        narrator.say(f"privacy: noise {reasons['privacy.noise']}")
