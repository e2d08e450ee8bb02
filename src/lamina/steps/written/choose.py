"""Step 3 for texts that are written: how large a network, how long, each with its reason, into plan.toml."""

from __future__ import annotations

import math
from dataclasses import replace

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.errors import InputError
from lamina.narrate import Narrator
from lamina.plan import MethodPlan, NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.pace import Allowance, measured
from lamina.steps.request import Request
from lamina.steps.written import given_model
from lamina.steps.written.learner import TEST, VALIDATION, WRITER, Extent, Material, build, learned_from

PACE = {"cpu": 6e9, "cuda": 2e13}
"""Multiplications a second of a core or of a GPU, about: for a first idea of how large a network there is time for."""
PREPARED = 0.7
"""Share of the time that is left for training, about."""
TOKENS_PER_WEIGHT = 8.0
"""Tokens that a network sees, in the time there is, for each of its weights: larger ones would be cut off too early,
smaller ones would have nothing more to learn (Hoffmann et al. 2022 found 20 at the scale of billions)."""
WEIGHTS_PER_TOKEN = 4.0
"""Weights for each token of the training text, at most: more learn it by heart."""
SIZES = ((64, 2, 2), (96, 3, 3), (128, 4, 4), (192, 4, 6), (256, 5, 8), (384, 6, 6), (512, 8, 8), (768, 12, 12))
"""(Width, layers, heads), the smallest first."""
MOST_EPOCHS = 30.0
SEEN = 3e9
"""Tokens seen in all, at most."""
TOKENS_PER_STEP = {"cpu": 2_048, "cuda": 16_384}
CANDIDATES = 16
"""Tokens that each token may become by a translator's lexicon."""
RATE, RATE_WIDTH = 3e-3, 128
"""The highest learning rate of a network of that width; it falls with the root of the width."""


def choose(
    request: Request, material: Material, plan: Plan, narrator: Narrator, *, began: float, given: Plan | None = None
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
    plan = decided(request, material, plan, given)
    learner = build(plan, material, machine.device)
    fixed = {item.partition("=")[0].strip() for item in request.sets}
    fixed |= {"training.epochs", "training.precision"} if given is not None else set()
    asked = material.bytes_in(TEST) / max(material.bytes_in(VALIDATION), 1) + material.extent.answers
    plan, reasons, allowed = measured(plan, learner, machine, fixed, began, lambda scoring: scoring * asked)
    plan = replace(plan, reasons={**plan.reasons, **reasons})
    network = [f"network.{WRITER}.{part}" for part in ("name", "dropout", "frozen")]
    for key in (*network, "training.threads", "training.precision", "training.epochs"):
        if key in plan.reasons:
            narrator.say(f"{key.rpartition('.')[2] if key[-4:] != 'name' else 'network'}: {plan.reasons[key]}")
    weights = sum(value.numel() for value in learner.network.parameters())
    narrator.say(f"{weights:,} weights" if material.model is None else learned_from(learner))
    return plan, allowed


def decided(request: Request, material: Material, plan: Plan, given: Plan | None) -> Plan:
    """The plan with everything that needs no measuring."""
    extent = material.extent
    sets = [item for item in request.sets if item.split(".")[0].split("=")[0] not in ("data", "task", "seed", "schema")]
    wishes = {item.partition("=")[0].strip(): "you asked for it" for item in sets}
    if given is not None:
        if WRITER not in given.network:
            raise InputError("The plan has no network that writes.", where="--plan", fix="Give a plan of such a run.")
        followed = replace(given, data=plan.data, schema=plan.schema, task=plan.task, name=plan.name, seed=plan.seed)
        reasons = {**plan.reasons, **given.reasons, **wishes}
        if material.model is not None:
            network = given_model.of_model(material.model, given.network[WRITER])
            followed = replace(followed, network={WRITER: network})
        followed = replace(followed, budget=plan.budget, reasons=reasons).with_set(sets)
        given_model.check_network(material.model, followed)
        return followed
    if material.model is not None:
        return given_model.planned(material.model, plan, extent, sets, wishes)
    device = hardware.detect().device.type
    vocabulary = int(material.task.tokens.get_vocab_size())
    (width, depth, heads), passes, reason = size(extent, vocabulary, plan.budget)
    dropout, why = dropout_for(passes, weights_of(width, depth, vocabulary) / max(extent.tokens, 1))
    reads = bool(material.task.reads)
    name = "encoder_decoder" if reads else "decoder"
    batch = max(extent.batch, round(TOKENS_PER_STEP[device] / extent.length))
    steps = TrainingPlan(
        epochs=round(max(min(MOST_EPOCHS, SEEN / max(extent.tokens, 1)), 1.0), 1),
        batch_size=max(1, min(batch, max(1, extent.examples // 4))),
        clip=1.0, ema=0.0, patience=5, evaluations=12,
    )  # fmt: skip
    rate = float(f"{RATE * math.sqrt(RATE_WIDTH / width):.2g}")
    found = replace(
        plan,
        network={
            WRITER: NetworkPlan(
                name, tuple(item.name for item in plan.schema if item.role == "input"),
                {
                    "width": width, "depth": depth, "heads": heads, "dropout": dropout,
                    **({"candidates": CANDIDATES} if reads else {}),
                },
            )
        },
        method=MethodPlan("next_token", {"smoothing": extent.smoothing}),
        optimizer=OptimizerPlan("adamw", rate, 0.1, beta2=0.98),
        schedule=SchedulePlan("cosine", 0.05, 0.05),
        training=steps,
        reasons={
            **plan.reasons,
            f"network.{WRITER}.name": f"{name}, {depth} layers of width {width}: {reason}",
            f"network.{WRITER}.dropout": why,
            "method.name": "next_token: every position of a text says what comes next",
            **wishes,
        },
    ).with_set(sets)  # fmt: skip
    given_model.check_network(None, found)
    return found


def size(extent: Extent, vocabulary: int, budget: float) -> tuple[tuple[int, int, int], float, str]:
    """((Width, layers, heads), about how many passes there is time for, reason)."""
    machine = hardware.detect()
    cores = machine.cores if machine.device.type == "cpu" else 1
    work = PREPARED * (budget or DEFAULT_SECONDS) * PACE[machine.device.type] * cores

    def seen(width: int, depth: int) -> float:
        """Tokens that there is time for; forward, and back through weights and values."""
        own = 12 * width * width * depth
        return work / (3 * (own * (1 + extent.read) + vocabulary * width))

    chosen, why = SIZES[0], "there is little time, and a small network gets further in it"
    for width, depth, heads in SIZES:
        weights = weights_of(width, depth, vocabulary)
        if weights > WEIGHTS_PER_TOKEN * extent.tokens:
            why = f"{extent.tokens:,} tokens of training text; a larger one would learn them by heart"
            break
        if seen(width, depth) < TOKENS_PER_WEIGHT * weights:
            why = "as large as there is time to train"
            break
        chosen, why = (width, depth, heads), "the largest that is tried unasked"
    return chosen, seen(*chosen[:2]) / max(extent.tokens, 1), why


def weights_of(width: int, depth: int, vocabulary: int) -> int:
    """Of a network that writes, about; the part that reads is left out."""
    return 12 * width * width * depth + vocabulary * width


def dropout_for(passes: float, weights_per_token: float) -> tuple[float, str]:
    """(Chance, reason): what is seen often is learned by heart, unless some of it is left out.

    Args:
        passes: about how often each text is seen.
        weights_per_token: of the training text; a network with fewer weights than it has tokens can learn little of it
            by heart, and needs them all.
    """
    for most, chance in ((2.0, 0.0), (6.0, 0.1)):
        if passes <= most:
            return chance, f"{chance:g}: every text is seen at most {most:g} times or so in the time there is"
    if weights_per_token < 1:
        return 0.1, "0.1: every text is seen many times, but there are fewer weights than tokens to be learned"
    return 0.2, "0.2: every text is seen many times"
