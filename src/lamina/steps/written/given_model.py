"""A causal model that was given to be learned on from: which, with what tokens, how it learns, and what that gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lamina.choose import hardware
from lamina.choose.training import DEFAULT_SECONDS
from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.evaluate.results import TargetResult
from lamina.modalities import _given_tokens
from lamina.modalities._given_tokens import GivenTokens
from lamina.model.writer import longest_context
from lamina.networks.transfer import causal
from lamina.networks.transfer.causal import Given
from lamina.plan import MethodPlan, NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan
from lamina.steps.request import Request
from lamina.steps.written.learner import TEST, VALIDATION, WRITER, Extent

MOST_WEIGHTS = 500_000_000
"""Of a sealed file, whose graph of fp32 weights must stay below 2 GiB."""
AS_IT_IS = "the given model as it is"
"""What the baseline is called."""
PACE = {"cpu": 1.2e10, "cuda": 2e13}
"""Multiplications a second of a usual machine, about."""
SCORED = {VALIDATION: (0.02, 1_024), TEST: (0.08, 4_096)}
"""Share of the time that a held-out part may be scored in, about; and tokens of it that are scored at least."""
LOGITS = {"cpu": 1 << 27, "cuda": 1 << 31}
"""Log-odds of a step at most: a given vocabulary can be large."""
TOKENS_PER_STEP = {"cpu": 2_048, "cuda": 16_384}
MOST_EPOCHS = 10.0
RATES = {"lora": 3e-4, "all": 1e-3, "gradual": 3e-5, "none": 3e-5}
"""The highest learning rate: weights that know something change slowly, fresh ones beside them may change fast."""
LEARNS = {
    "lora": "lora: low-rank adapters beside the maps of its layers learn, and are added to them in the end",
    "all": "all of it is frozen but the last norm, and the last map where it has weights of its own",
    "gradual": "gradual: it learns from the top, and all of it from half of the training on",
    "none": "none of it is frozen",
}


def asked(request: Request) -> Given | None:
    """The model that `--weights` names, looked at but not read.

    Raises:
        InputError: there are several, or there is none that could be learned on from.
    """
    if not request.weights:
        return None
    if len(request.weights) > 1:
        raise InputError(
            "Several weights were given for one network.", where="--weights", fix="Give one folder: --weights FOLDER"
        )
    (item,) = request.weights
    name, equals, rest = item.partition("=")
    path = rest if equals and name == WRITER else item
    if not path.strip():
        raise InputError(f"--weights {item!r} names no folder.", where="--weights", fix="Write --weights FOLDER.")
    model = causal.given((request.base / Path(path).expanduser()).resolve())
    check_size(model)
    return model


def check_size(model: Given) -> None:
    """Raises InputError where a sealed file would have no room for the model."""
    sizes = model.described.options
    twice = model.described.vocabulary * int(sizes["width"]) if sizes.get("tied", True) else 0
    if model.numbers + twice > MOST_WEIGHTS:
        also = f" (its embeddings are the last map too, which has {twice:,} more there)" if twice else ""
        raise InputError(
            f"The model in {model.folder} has {model.numbers:,} weights{also}; a sealed file has room for "
            f"{MOST_WEIGHTS:,}.",
            where="--weights",
            fix="Give a smaller model.",
        )


def tokenizer_of(model: Given) -> str:
    """JSON of the model's tokenizer, exact (`lamina.modalities._given_tokens`).

    Raises:
        InputError: it does not give back every byte, or is not the model's.
    """
    text = _given_tokens.exact(model.tokenizer)
    tokens = GivenTokens(text)
    known = max((number for number, piece in enumerate(tokens.pieces) if piece), default=0) + 1
    if known > model.described.vocabulary:
        raise InputError(
            f"The tokenizer in {model.folder} has {known:,} tokens, the model knows {model.described.vocabulary:,}.",
            where="--weights",
            fix="Give the tokenizer.json that belongs to the model.",
        )
    return text


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an option of the task that a given model has already decided."""
    if "vocabulary" in options:
        raise InputError(
            "The option 'vocabulary' is for tokens that are trained; a given model has its own.",
            where="task.options.vocabulary",
            fix="Leave it out, or leave out --weights.",
        )


def context_of(model: Given, wanted: int) -> int:
    """Tokens that the network sees: as wanted, but no more than it has positions and a sealed model has memory for."""
    sizes = model.described.options
    heads = int(sizes.get("groups") or sizes["heads"])
    each = int(sizes.get("each") or sizes["width"] // sizes["heads"])
    memory = longest_context(2 * int(sizes["depth"]), heads, each, model.described.vocabulary)
    return min(wanted, model.described.positions, memory)


def enough(model: Given, budget: float, most: Mapping[str, int]) -> dict[str, int]:
    """Tokens of each held-out part that are scored: all that are wanted, or what there is time for."""
    pace = PACE[hardware.detect().device.type] / model.numbers * (budget or DEFAULT_SECONDS)
    return {name: min(most[name], max(least, int(share * pace))) for name, (share, least) in SCORED.items()}


def planned(model: Given, plan: Plan, extent: Extent, sets: Sequence[str], wishes: Mapping[str, str]) -> Plan:
    """The plan of learning on from the model, with everything that needs no measuring.

    Args:
        sets, wishes: what the user wants, and that it was asked for.

    Raises:
        InputError: what is wanted does not fit the model.
    """
    fields = tuple(item.name for item in plan.schema if item.role == "input")
    network = of_model(model, NetworkPlan(fields=fields, frozen="lora"))
    frozen = replace(plan, network={WRITER: network}).with_set(sets).network[WRITER].frozen
    device = hardware.detect().device.type
    tokens = min(TOKENS_PER_STEP[device], LOGITS[device] // model.described.vocabulary)
    batch = max(1, min(round(tokens / extent.length), extent.examples // 4))
    found = replace(
        plan,
        network={WRITER: network},
        method=MethodPlan("next_token", {"smoothing": extent.smoothing}),
        optimizer=OptimizerPlan("adamw", RATES[frozen], 0.0 if frozen == "lora" else 0.01, beta2=0.98),
        schedule=SchedulePlan("cosine", 0.05, 0.05),
        training=TrainingPlan(
            epochs=MOST_EPOCHS, batch_size=batch, clip=1.0, ema=0.0, patience=5, evaluations=12
        ),
        reasons={
            **plan.reasons,
            f"network.{WRITER}.name": f"{model.writer}: {model.architecture} was given, {model.numbers:,} weights",
            f"network.{WRITER}.frozen": LEARNS[frozen],
            "method.name": "next_token: every position of a text says what comes next",
            **wishes,
        },
    ).with_set(sets)  # fmt: skip
    check_network(model, found)
    return found


def of_model(model: Given, part: NetworkPlan) -> NetworkPlan:
    """A network's plan with what the model decides."""
    return replace(
        part,
        name=model.writer,
        options={**part.options, **model.described.options},
        weights=str(model.folder),
        fingerprint=model.fingerprint,
    )


def check_network(model: Given | None, plan: Plan) -> None:
    """Raises InputError where a plan asks for another network than the model is, or for weights that were not given."""
    part = plan.network[WRITER]
    if model is None:
        if part.weights or part.frozen != "none" or part.rank is not None or part.strength is not None:
            raise InputError(
                "There are no weights to learn on from.", where=f"network.{WRITER}",
                fix="Give them: --weights FOLDER, of a causal model in the Hugging Face format.",
            )  # fmt: skip
        return
    wanted = of_model(model, part)
    if wanted != part:
        different = {**part.options, "name": part.name, "weights": part.weights}
        right = {**wanted.options, "name": wanted.name, "weights": wanted.weights}
        name = next((key for key, value in right.items() if different.get(key) != value), "fingerprint")
        raise InputError(
            f"The given model has {name} = {right.get(name)!r}.",
            where=f"network.{WRITER}.{name}",
            fix="Leave it as it is, or leave out --weights and start from scratch.",
        )


def gain(result: TargetResult, score: str) -> str:
    """What learning on gave, for the user to read first."""
    (before,) = (item for item in result.baselines if item.name == AS_IT_IS)
    own, other, difference = result.scores[score].value, before.scores[score].value, before.difference
    assert difference is not None
    told = f"{other:.3f} bits per byte before it learned on, {own:.3f} after"
    interval = f"95% interval of what was gained: {difference.low:.3f} to {difference.high:.3f}"
    if difference.low > 0:
        return f"Learning on from the given model paid: {told} ({interval})."
    kind = "made the given model worse" if difference.high < 0 else "gave nothing that can be seen"
    return f"Learning on {kind}: {told} ({interval})."
