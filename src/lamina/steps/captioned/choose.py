"""Step 3 for captions: what looks at pictures, what writes, how long, each with its reason, into plan.toml."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lamina.choose import hardware
from lamina.choose import networks as choose_networks
from lamina.choose import training as choose_training
from lamina.errors import InputError
from lamina.narrate import Narrator
from lamina.plan import MethodPlan, NetworkPlan, Plan
from lamina.steps.captioned.learner import Material, build, changed, looking, material_of
from lamina.steps.choose import networks_asked, of_inputs
from lamina.steps.learner import shuffled
from lamina.steps.pace import Allowance, measured
from lamina.steps.prepare import Prepared
from lamina.steps.request import Request
from lamina.steps.settings import check_wishes
from lamina.steps.written.choose import RATE, RATE_WIDTH, dropout_for, size
from lamina.steps.written.learner import TEST, VALIDATION, WRITER

SEEN, EPOCHS = 3e5, (10.0, 100.0)
"""Pictures that training looks at, where there is time; and how often each, at least and at most."""


def choose(
    request: Request, prepared: Prepared, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
) -> tuple[Plan, Allowance]:
    """Fill in all that the plan leaves open; arguments as of `lamina.steps.choose.choose`."""
    narrator.step("Choose")
    machine = hardware.detect()
    plan = decided(request, prepared, plan, given)
    material = material_of(plan, prepared)
    learner = build(plan, material, machine.device, request.base)
    fixed = {item.partition("=")[0].strip() for item in request.sets}
    fixed |= {"training.epochs", "training.precision"} if given is not None else set()
    asked = material.bytes_in(TEST) / max(material.bytes_in(VALIDATION), 1) + material.extent.answers
    plan, reasons, allowed = measured(plan, learner, machine, fixed, began, lambda scoring: scoring * asked)
    plan = replace(plan, reasons={**plan.reasons, **reasons})
    for name in plan.network:
        narrator.say(f"network {name}: {plan.reasons.get(f'network.{name}.name', plan.network[name].name)}")
    for key in (f"network.{WRITER}.dropout", "training.threads", "training.precision", "training.epochs"):
        if key in plan.reasons:
            narrator.say(f"{key.rpartition('.')[2]}: {plan.reasons[key]}")
    narrator.say(f"{sum(value.numel() for value in learner.network.parameters()):,} weights")
    return plan, allowed


def check(request: Request, prepared: Prepared, plan: Plan, given: Plan | None = None) -> None:
    """Find what is wrong with the wishes before any time is spent.

    Raises:
        InputError: a name, option or value that does not exist, weights that do not fit, or more than one picture or
            column of captions.
    """
    wished = decided(request, prepared, plan, given)
    check_wishes(wished, request)
    material = material_of(wished, prepared)
    learner = build(wished, material, torch.device("cpu"), request.base)
    prepare = changed(wished, material)
    if prepare is not None:
        # A change that there is not, or of a strength out of range, is found by the first batch.
        _, batch = next(learner.source.batches(0))
        prepare(batch)


def decided(request: Request, prepared: Prepared, plan: Plan, given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring."""
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in ("data", "task", "seed", "schema")]
    wishes = {item.partition("=")[0].strip(): "you asked for it" for item in sets}
    if given is not None:
        if WRITER not in given.network:
            raise InputError(
                "The plan has no network that writes captions.", where="--plan", fix="Give a plan of such a run."
            )
        return replace(
            given, data=plan.data, schema=plan.schema, task=plan.task, budget=plan.budget, seed=plan.seed,
            name=plan.name, reasons={**plan.reasons, **given.reasons, **wishes},
        ).with_set(sets)  # fmt: skip
    material = material_of(plan, prepared)
    features = {material.field.name: material.encoder.feature}
    rows = len(material.rows["train"])
    keys = list(choose_networks.groups(features))
    asked = networks_asked(replace(request, sets=tuple(item for item in request.sets if _seeing(item))), keys)
    networks, reasons = choose_networks.choose(features, rows, asked, request.base)
    part, why = _writer(material, plan.budget)
    highest = float(f"{RATE * math.sqrt(RATE_WIDTH / part.options['width']):.2g}")
    networks, rate_reason = _rates(networks, highest)
    optimizer, _, training, more = choose_training.choose(networks, features, rows, False)
    epochs = round(min(EPOCHS[1], max(EPOCHS[0], SEEN / rows)), 1)
    found = replace(
        plan,
        network={**networks, WRITER: part},
        method=MethodPlan("next_token", {"smoothing": material.extent.smoothing}),
        optimizer=replace(optimizer, name="adamw", learning_rate=highest, beta2=0.98, weight_decay=0.05),
        schedule=replace(plan.schedule, name="cosine", warmup=0.05, final=0.01),
        training=replace(
            training, epochs=epochs, clip=1.0, label_smoothing=0.0, patience=6, evaluations=20,
        ),
        reasons={
            **plan.reasons,
            **reasons,
            **{key: text for key, text in more.items() if key in ("training.augment", "training.batch_size")},
            **why,
            **rate_reason,
            "optimizer": "AdamW, the usual choice for what writes",
            "method.name": "next_token: every position of a caption says what comes next",
            **wishes,
        },
    )  # fmt: skip
    found = shuffled(found, prepared)
    own = Plan(network=looking(found)).with_set(item for item in sets if _seeing(item) and of_inputs(item, keys))
    found = replace(found, network={**own.network, WRITER: part})
    return found.with_set(item for item in sets if not (_seeing(item) and of_inputs(item, keys)))


def _seeing(item: str) -> bool:
    """Is a `--set` about what looks at pictures, if it is about a network?"""
    return not item.startswith(f"network.{WRITER}.")


def _rates(networks: dict[str, NetworkPlan], highest: float) -> tuple[dict[str, NetworkPlan], dict[str, str]]:
    """What looks at pictures with given weights learns as fast as its recipe says, beside what writes."""
    found, reasons = dict(networks), {}
    for name, part in networks.items():
        if part.weights and part.rate == 1.0:
            usual = choose_training.recipe({name: part}, False).optimizer.learning_rate
            rate = float(f"{min(usual / highest, 1.0):.2g}")
            found[name] = replace(part, rate=rate)
            reasons[f"network.{name}.rate"] = f"{rate:g}: what is given learns slower than what begins at random"
    return found, reasons


def _writer(material: Material, budget: float) -> tuple[NetworkPlan, dict[str, str]]:
    """What writes, and the reasons."""
    extent, vocabulary = material.extent, int(material.task.tokens.get_vocab_size())
    (width, depth, heads), passes, reason = size(extent, vocabulary, budget)
    # The embeddings of few captions need no more room; looking at places does.
    width, heads = max(width, 128), max(heads, 4)
    dropout, why = dropout_for(passes, 1.0)
    options = {"width": width, "depth": depth, "reading": 1, "heads": heads, "dropout": max(dropout, 0.1)}
    return NetworkPlan("captioner", (), options), {
        f"network.{WRITER}.name": f"captioner, {depth} layers of width {width}: {reason}",
        f"network.{WRITER}.dropout": f"{options['dropout']:g}: {why.partition(': ')[2]}",
    }
