"""Which network reads which inputs, and how large it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina import registry
from lamina.errors import InputError
from lamina.modalities import Feature
from lamina.plan import NetworkPlan

TABLE = "table"
"""The name of the network that reads all plain columns together."""
PLAIN = ("numbers", "category")
ENLARGED = 128
"""Backbones were trained at 224 pixels; at 128 they lose little and take a third of the time."""

MANY_ROWS = 20_000
"""Training rows from which on a table's network gains more by width than by dropout."""

MANY_VALUES = 50
"""Values from which on a category is one of the parties of an interaction, such as users and films."""
FEW_ROWS_OF_PAIRS = 1_000
"""Training rows below which factors of so many values cannot be learned."""

MANY_TEXTS = 50_000
"""Training texts from which on a bag of embeddings needs no more dropout than usual."""
MANY_SOUNDS = 5_000
"""Training sounds with texts from which on a conformer has its usual size."""
LONG_TEXT, LONGEST_READ = 128, 512
"""Tokens that a pretrained encoder reads of a text on a processor, where more of them cost too much, and on a GPU."""
MANY_TOKENS = 2_000_000
"""Tokens of all training texts, padded, from which on many members would take too long."""

LONG_SOUND, WIDE_SOUND = 150, 48
"""Frames and bands of a spectrogram from which on its map may be made an eighth as large before the first block."""
MANY_FRAMES = 200_000
"""Frames of all training sounds: with fewer there is time to look closely, many times over."""


def groups(features: Mapping[str, Feature]) -> dict[str, tuple[str, ...]]:
    """Network name to the fields it reads: all plain columns share one, every other field has its own."""
    plain = tuple(name for name, feature in features.items() if feature.kind in PLAIN)
    found: dict[str, tuple[str, ...]] = {}
    if plain:
        found[TABLE if TABLE not in features or TABLE in plain else f"{TABLE}_columns"] = plain
    found.update({name: (name,) for name, feature in features.items() if feature.kind not in PLAIN})
    return found


def choose(
    features: Mapping[str, Feature],
    rows: int,
    given: Mapping[str, NetworkPlan],
    base: Path | None = None,
    *,
    classify: bool = False,
    accelerated: bool = False,
    wanted: Collection[str] = (),
    preferred: tuple[str, str] | None = None,
    layouts: Collection[str] = (),
) -> tuple[dict[str, NetworkPlan], dict[str, str]]:
    """A network for each group of inputs, and the reasons by dotted key.

    Args:
        features: what the encoders give.
        rows: training rows.
        given: what the user has set already; a name, weights or options there are kept.
        base: the folder that relative paths of weights start from.
        classify: is any target a class?
        accelerated: is there a GPU?
        wanted: what the answers need besides a vector: "pyramid", "sequence".
        preferred: (family, reason) that suits the task best, where its inputs are of a kind that it reads.
        layouts: the kinds of layouts that the answers have.

    Raises:
        InputError: the user's network does not read this kind of input.
    """
    plans: dict[str, NetworkPlan] = {}
    reasons: dict[str, str] = {}
    # Of all text fields: their ensembles can only be fused member by member if they are of one size.
    tokens = rows * sum(feature.shape[0] for feature in features.values() if feature.kind == "tokens")
    for key, fields in groups(features).items():
        kinds: set[str] = {features[name].kind for name in fields}
        asked = given.get(key, NetworkPlan())
        own = {field: features[field] for field in fields}
        name, why = (asked.name, "you asked for it") if asked.name else _family(own, rows, asked.weights, base, key)
        if not asked.name and not asked.weights:
            if preferred is not None and kinds <= set(registry.module("networks", preferred[0]).ACCEPTS):
                name, why = preferred
            name, why = _able(name, why, kinds, wanted)
        _check_accepts(key, name, kinds, asked.weights if not asked.name else "")
        options, option_reason = _options(name, [features[field] for field in fields], rows, classify, tokens)
        if name == "recurrent" and "sequence" in wanted and "spectrogram" in kinds:
            options, option_reason = (
                {"patch": 4},
                "frames read four at a time: a step every 40 ms, as answers are given",
            )
        if name == "resnet" and "places" in layouts:
            options, option_reason = {"blocks": 2}, "two blocks a stage: beside the search for boxes they cost little"
        if asked.weights:
            options, option_reason = _fitting(asked.weights, base, features[fields[0]], key)
        plans[key] = replace(asked, name=name, fields=fields, options={**options, **asked.options})
        if asked.weights and asked.frozen == "none" and not asked.name:
            plans[key] = replace(plans[key], frozen="gradual" if rows < 2000 else "none")
        reasons[f"network.{key}.name"] = f"{name}: {why}"
        if option_reason:
            reasons[f"network.{key}.options"] = option_reason
        longest = _longest(plans[key], accelerated)
        if name == "huggingface" and not asked.name and features[fields[0]].shape[0] > longest:
            plans[key] = replace(plans[key], options={"longest": longest, **plans[key].options})
            reasons[f"network.{key}.options"] = f"the first {longest} tokens of a text: more cost too much here"
            beside = companion(key)
            plans[beside] = NetworkPlan(
                "bag", fields, _options("bag", [features[fields[0]]], rows, classify, tokens)[0]
            )
            reasons[f"network.{beside}.name"] = "bag: reads to their ends the texts that are too long for the other"
    return plans, reasons


def _able(name: str, why: str, kinds: set[str], wanted: Collection[str]) -> tuple[str, str]:
    """A family that gives all that is wanted: the usual one if it does, else the first that reads such inputs.

    Where there is none the usual one stays: the assembly refuses it and names those that would do.
    """

    def gives(family: str) -> bool:
        return set(wanted) <= set(getattr(registry.module("networks", family), "GIVES", ()))

    if gives(name):
        return name, why
    for other in registry.names("networks"):
        if gives(other) and kinds <= set(registry.module("networks", other).ACCEPTS):
            return other, f"the first that gives a {' and a '.join(sorted(wanted))}, which the answer needs"
    return name, why


def _longest(plan: NetworkPlan, accelerated: bool) -> int:
    """How many tokens of a text a pretrained encoder is to read."""
    usual = LONGEST_READ if accelerated else LONG_TEXT
    asked = plan.options.get("longest", usual)
    return asked if isinstance(asked, int) else usual


def companion(key: str) -> str:
    """The name of the network that reads beside the one called `key`, where that does not read everything."""
    return f"{key}+words"


def _check_accepts(key: str, name: str, kinds: set[str], weights: str) -> None:
    accepts = registry.module("networks", name).ACCEPTS
    if not kinds <= set(accepts):
        unread = ", ".join(sorted(kinds - set(accepts)))
        if weights:
            raise InputError(
                f"The weights in {weights} are for the network {name!r}, which does not read {unread}.",
                where=f"--weights, for the input {key}",
                fix=f"Give weights for another input (--weights COLUMN=PATH; it reads {', '.join(accepts)}), or none.",
            )
        fitting = [
            other for other in registry.names("networks") if kinds <= set(registry.module("networks", other).ACCEPTS)
        ]
        raise InputError(
            f"The network {name!r} does not read {unread}.",
            where=f"network.{key}.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )


def parties(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """The categories that meet in a table of interactions, such as users and films; none in any other table.

    Of at least MANY_VALUES values each, they are two or more, and what the table is about: there are at most twice as
    many other plain columns.
    """
    plain = [name for name, feature in features.items() if feature.kind in PLAIN]
    many = [name for name in plain if features[name].kind == "category" and features[name].size >= MANY_VALUES]
    return tuple(many) if len(many) >= 2 and len(plain) <= 3 * len(many) else ()


def _family(features: Mapping[str, Feature], rows: int, weights: str, base: Path | None, key: str) -> tuple[str, str]:
    """(family, reason) for these inputs, of the network called `key`."""
    kinds = {feature.kind for feature in features.values()}
    if weights:
        from lamina.networks.transfer.weights import family_of

        return family_of(weights, base, key), f"it is what the weights in {weights} are for"
    if kinds <= set(PLAIN):
        if rows < 150:
            return "mlp", "few rows: a small multilayer perceptron is as good as anything larger"
        if rows >= FEW_ROWS_OF_PAIRS and (met := parties(features)):
            return "factorisation", (
                f"every row is a meeting of {' and '.join(met)}, each with many values: biases and products of factors"
            )
        return "tabm", "an implicit ensemble of multilayer perceptrons is the most reliable network for tables"
    if "image" in kinds:
        return "resnet", "residual convolutions learn images well from scratch"
    if "spectrogram" in kinds:
        return "resnet", "a spectrogram is read well as an image: residual convolutions"
    if "series" in kinds:
        return "resnet", "residual convolutions along time find shapes wherever they occur"
    why = "words and word pairs decide most text classifications; this is the fastest network that sees them"
    if rows < MANY_TEXTS:
        why += "; a pretrained encoder usually knows much more than so few texts tell: --weights COLUMN=FOLDER"
    return "bag", why


def _fitting(weights: str, base: Path | None, feature: Feature, key: str) -> tuple[dict[str, Any], str]:
    """The options that make given weights fit; small pictures are enlarged to sizes that backbones know."""
    from lamina.networks.transfer.weights import suggestion

    name, options = suggestion(weights, base, key)
    if name == "efficientnet" and feature.shape[0] < ENLARGED:
        return {**options, "resize": ENLARGED}, f"pictures are enlarged to {ENLARGED} pixels, as the weights expect"
    return options, "what the given weights need"


def _options(name: str, features: list[Feature], rows: int, classify: bool, tokens: int) -> tuple[dict[str, Any], str]:
    """Sizes that differ from the family's defaults, with the reason."""
    if name == "tabm" and rows < 1000:
        return {"dropout": 0.2}, "few rows: smaller and with more dropout"
    if name == "tabm" and rows >= MANY_ROWS:
        # On the CPU, drawing for dropout is a large part of a step; that time and half the members' go into width.
        wide = {"members": 16, "width": 192, "numeric_width": 24, "dropout": 0.0}
        return wide, "many rows: wider layers, fewer members, no dropout"
    if name == "bag" and rows < MANY_TEXTS:
        return _for_few_texts(tokens, classify)
    if name == "conformer" and rows < MANY_SOUNDS:
        return {"expansion": 2}, "few sounds: smaller feed-forward parts, so that they are heard more often in the time"
    if name == "resnet" and features[0].kind == "spectrogram":
        return _for_sound(features[0], rows)
    return {}, ""


def _for_few_texts(tokens: int, classify: bool) -> tuple[dict[str, Any], str]:
    """Few texts are soon learned by heart, above all where classes are asked for, which tell less than numbers."""
    if tokens < MANY_TOKENS:
        options = {"members": 16, "width": 16, "hidden": 32, **({"dropout": 0.5} if classify else {})}
        return options, "few and short texts: many small members, which err less together"
    if classify:
        return {"dropout": 0.5, "token_dropout": 0.3}, "few texts with classes are soon learned by heart: more dropout"
    return {}, ""


def _for_sound(feature: Feature, rows: int) -> tuple[dict[str, Any], str]:
    """Many long sounds are made small at once, for they cost most, and pooled into statistics over time."""
    options: dict[str, Any] = {}
    reasons: list[str] = []
    frames, bands = feature.shape[:2]
    if frames >= LONG_SOUND and bands >= WIDE_SOUND and frames * rows >= MANY_FRAMES:
        options |= {"pooling": "statistics", "halvings": 3, "stages": 3}
        reasons.append("a small map and its statistics over time, so that many long sounds are seen often enough")
    if rows < 5000:
        options["dropout"] = 0.3
        reasons.append("few clips: more dropout")
    return options, "; ".join(reasons)
