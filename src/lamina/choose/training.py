"""Method, optimizer, schedule, batch size and number of epochs, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lamina.choose.networks import MANY_ROWS
from lamina.modalities import Feature
from lamina.plan import NetworkPlan, OptimizerPlan, SchedulePlan, TrainingPlan

DEFAULT_SECONDS = 600.0
"""Training time that is aimed at where no budget is given."""


MAP_BATCH = 16
"""Pictures at a time where every pixel is answered: each tells as much as many rows."""
MAP_SEEN, MAP_EPOCHS = 30_000.0, 300.0
"""Pictures that such training sees, and how often the same one at most."""


@dataclass(frozen=True)
class Recipe:
    """Settings that suit a family of networks.

    Attributes:
        optimizer, schedule: how it is trained.
        seen: how many examples (epochs * rows) it profits from, at most.
        epochs: the least and the most passes over the data that make sense.
        batch: batch size for enough rows.
        for_maps: its batch and numbers are meant for answers at every place of a picture.
        few_rows_rate: factor of the learning rate for fewer than MANY_ROWS rows, which a quick learner learns by heart.
    """

    optimizer: OptimizerPlan
    schedule: SchedulePlan
    seen: float
    epochs: tuple[float, float]
    batch: int
    ema: float = 0.0
    label_smoothing: float = 0.0
    patience: int = 0
    reason: str = ""
    few_rows_rate: float = 1.0
    for_maps: bool = False


RECIPES: dict[str, Recipe] = {
    "tabm": Recipe(
        OptimizerPlan("adamw", 3e-3, 3e-4), SchedulePlan("one_cycle", 0.05, 0.02), 3e6, (10, 120), 256, 0.998, 0.0, 30,
        "AdamW with light weight decay, as TabM's authors found", 1 / 3,
    ),
    "factorisation": Recipe(
        OptimizerPlan("adamw", 5e-3, 0.0), SchedulePlan("one_cycle", 0.05, 0.02), 4.5e5, (3, 30), 1024, 0.998, 0.0, 8,
        "AdamW for few passes: factors of rare values are soon learned by heart",
    ),
    "mlp": Recipe(
        OptimizerPlan("adamw", 1e-3, 1e-2), SchedulePlan("one_cycle", 0.1), 3e6, (10, 150), 256, 0.998, 0.0, 16,
        "AdamW, the usual choice for perceptrons",
    ),
    "resnet": Recipe(
        OptimizerPlan("adamw", 1e-2, 0.05), SchedulePlan("one_cycle", 0.2), 1.5e6, (8, 60), 128, 0.0, 0.1, 0,
        "AdamW with a high one-cycle rate reaches a good score in few epochs (super-convergence)",
    ),
    "edsr": Recipe(
        OptimizerPlan("adamw", 2e-3, 0.0), SchedulePlan("one_cycle", 0.1), 1e6, (10, 200), 32, 0.998, 0.0, 0,
        "AdamW without weight decay: a network without normalisation needs all of its range",
        for_maps=True,
    ),
    "efficientnet": Recipe(
        OptimizerPlan("adamw", 1e-3, 0.01, layer_decay=0.8), SchedulePlan("one_cycle", 0.15), 1e5, (8, 40), 32,
        0.99, 0.1, 0,
        "pretrained: smaller rates for earlier layers",
    ),
    "huggingface": Recipe(
        OptimizerPlan("adamw", 2e-4, 0.01, layer_decay=0.8), SchedulePlan("one_cycle", 0.1), 6e4, (3, 20), 32,
        0.0, 0.0, 0,
        "pretrained: small rates, smaller still for earlier layers",
    ),
    "transformer": Recipe(
        OptimizerPlan("adamw", 1e-3, 0.05, beta2=0.98), SchedulePlan("one_cycle", 0.1), 1e6, (8, 60), 64, 0.998, 0.1, 0,
        "AdamW with warm-up, which transformers need",
    ),
    "conformer": Recipe(
        OptimizerPlan("adamw", 1.5e-3, 0.02, beta2=0.98), SchedulePlan("one_cycle", 0.1), 1.2e5, (20, 150), 16,
        0.998, 0.0, 0,
        "AdamW with warm-up and many passes: speech is learned suddenly, after a long time of silence as the answer",
    ),
    "recurrent": Recipe(
        OptimizerPlan("adamw", 2e-3, 0.01), SchedulePlan("one_cycle", 0.1), 1e6, (8, 60), 64, 0.998, 0.05, 0,
        "AdamW with clipped gradients, which recurrent networks need",
    ),
    "bag": Recipe(
        OptimizerPlan("adamw", 5e-3, 0.01), SchedulePlan("one_cycle", 0.1), 4e4, (4, 10), 64, 0.0, 0.0, 0,
        "embeddings of words learn with high rates, and in few epochs: longer, they learn the sentences by heart",
    ),
}  # fmt: skip

FOR_PLACES: dict[str, Recipe] = {
    "resnet": replace(
        RECIPES["resnet"], optimizer=OptimizerPlan("adamw", 4e-3, 0.05), schedule=SchedulePlan("one_cycle", 0.1),
        seen=2e5, epochs=(12, 150), batch=16, ema=0.998,
        reason="AdamW with small batches: a picture has thousands of answers, and each step tells much",
    ),
    "efficientnet": replace(RECIPES["efficientnet"], batch=16, ema=0.998, epochs=(8, 60)),
}  # fmt: skip
"""Recipes that differ where boxes are learned."""

FOR_CLASSES: dict[str, Recipe] = {
    "bag": replace(
        RECIPES["bag"], optimizer=OptimizerPlan("adamw", 3e-3, 0.01), seen=5e4,
        reason="embeddings of words learn with high rates, and in few epochs; a little slower for classes, which tell "
        "less than numbers and are sooner learned by heart",
    ),
}  # fmt: skip
"""Recipes that differ where classes are learned."""


def recipe(networks: Mapping[str, NetworkPlan], classify: bool, layouts: Collection[str] = ()) -> Recipe:
    """The recipe of the network that is hardest to train (pretrained before large before small)."""
    order = [
        "huggingface",
        "efficientnet",
        "conformer",
        "transformer",
        "recurrent",
        "resnet",
        "edsr",
        "bag",
        "tabm",
        "factorisation",
        "mlp",
    ]
    names = [plan.name for plan in networks.values()]
    known = [name for name in order if name in names]
    name = known[0] if known else "mlp"
    if "places" in layouts:
        return FOR_PLACES.get(name, RECIPES[name])
    return FOR_CLASSES.get(name, RECIPES[name]) if classify else RECIPES[name]


def choose(
    networks: Mapping[str, NetworkPlan],
    features: Mapping[str, Feature],
    rows: int,
    classify: bool,
    layouts: Collection[str] = (),
) -> tuple[OptimizerPlan, SchedulePlan, TrainingPlan, dict[str, str]]:
    """Settings for these networks and so many training rows, before time is considered.

    Args:
        classify: is any target a class?
        layouts: the kinds of layouts that the answers have.

    Returns:
        optimizer, schedule, training (with the most epochs that make sense) and reasons by dotted key.
    """
    chosen = recipe(networks, classify, layouts)
    # Recipes that are meant for answers at every place have the right numbers already.
    maps = bool({"map", "picture"} & set(layouts)) and not chosen.for_maps
    batch = _batch_size(MAP_BATCH, rows, 4) if maps else _batch_size(chosen.batch, rows)
    low, high = chosen.epochs
    if maps:
        # A picture tells very much where every pixel has an answer, and few pictures are seen often.
        chosen = replace(chosen, seen=MAP_SEEN)
        high = max(high, MAP_EPOCHS)
    epochs = float(min(high, max(low, round(chosen.seen / rows, 1))))
    optimizer = chosen.optimizer
    if few := rows < MANY_ROWS and chosen.few_rows_rate < 1:
        optimizer = replace(optimizer, learning_rate=float(f"{optimizer.learning_rate * chosen.few_rows_rate:.2g}"))
    single = len({plan.name for plan in networks.values()}) == 1
    training = TrainingPlan(
        epochs=epochs,
        batch_size=batch,
        clip=1.0,
        ema=chosen.ema,
        patience=chosen.patience,
        evaluations=60 if chosen.patience else 12,
        label_smoothing=chosen.label_smoothing if classify else 0.0,
        augment=_augmentation(networks, features, rows, layouts),
    )
    usual = "as usual for this network" if batch == chosen.batch else "suits the number of rows"
    reasons = {
        "optimizer": chosen.reason + ("" if single else "; the setting of the network that is hardest to train"),
        "schedule": f"{chosen.schedule.name}: the rate rises for {chosen.schedule.warmup:.0%} of the steps, then falls",
        "training.batch_size": f"{batch}: {usual}",
        "training.epochs": f"{epochs:g}: about {epochs * rows:,.0f} examples seen",
    }
    if few:
        rate = optimizer.learning_rate
        reasons["optimizer.learning_rate"] = f"{rate:g}: lower than usual, so few rows are soon learnt by heart"
    if training.augment:
        reasons["training.augment"] = "changes that keep the meaning, so that the network sees more than there is"
    if training.ema:
        reasons["training.ema"] = "a running average of the weights is steadier than the last step's"
    return optimizer, chosen.schedule, training, reasons


def rates(networks: Mapping[str, NetworkPlan], classify: bool) -> tuple[dict[str, NetworkPlan], float, str]:
    """Networks, a learning rate and the reason, so that what is pretrained and what is not learn at rates of their own.

    The learning rate is 0 where all of them can learn at one.
    """
    scratch = {name: plan for name, plan in networks.items() if not plan.weights}
    if not scratch or len(scratch) == len(networks):
        return dict(networks), 0.0, ""
    usual = recipe(scratch, classify).optimizer.learning_rate
    slower = {
        name: replace(plan, rate=float(f"{recipe({name: plan}, classify).optimizer.learning_rate / usual:.2g}"))
        for name, plan in networks.items()
        if plan.weights and plan.rate == 1.0
    }
    return (
        {**networks, **slower},
        usual,
        "for all that starts at random; the pretrained learn slower: network.NAME.rate",
    )


STEPS_AN_EPOCH = 30
"""At least, about: where rows are few, batches are smaller."""


def _batch_size(usual: int, rows: int, least: int = 8) -> int:
    """At least STEPS_AN_EPOCH where rows are few; larger batches where they are very many."""
    if rows > 100_000 and usual >= 256:
        return usual * 4
    size = usual
    while size > least and rows / size < STEPS_AN_EPOCH:
        size //= 2
    return size


def shuffle(needed: int, free: float) -> tuple[Literal["rows", "blocks"], str]:
    """How rows are shuffled, and the reason where it is not as usual.

    Args:
        needed: bytes of the rows that are learned from, as far as they lie on the disk.
        free: bytes of memory, infinite where that is not known.
    """
    if needed <= free / 2:
        return "rows", ""
    return "blocks", (
        f"blocks: the encoded rows take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free, so "
        "neighbours are read together"
    )


def _augmentation(
    networks: Mapping[str, NetworkPlan], features: Mapping[str, Feature], rows: int, layouts: Collection[str]
) -> dict[str, Any]:
    from lamina.learn.augment import defaults

    # A bag of embeddings leaves tokens out by itself; twice would be too much.
    own = {name for plan in networks.values() if plan.name == "bag" for name in plan.fields}
    found = {name: defaults(feature, rows, layouts) for name, feature in features.items() if name not in own}
    return {name: plan for name, plan in found.items() if plan}


OFTEN = 30.0
"""Passes from which on shifts are as large as `defaults` has them; before, they grow with the square of the passes. On
Fashion-MNIST, nine passes over 54,000 rows, accuracy is 0.929 and 0.927 (two seeds) with shifts of two pixels, 0.933
with one, 0.937 and 0.935 with none; in 24 passes over 5,400 they harm no more (0.926, 0.907; without 0.907, 0.904)."""


def milder(augment: Mapping[str, Any], epochs: float) -> dict[str, Any]:
    """The augmentations by field with smaller shifts where pictures are seen fewer than `OFTEN` times: what is hardly
    seen twice needs no change, and to learn that things may lie anywhere takes time."""
    share = min(1.0, (epochs / OFTEN) ** 2)
    return {
        name: {**plan, "translate": round(plan["translate"] * share, 3)} if "translate" in plan else plan
        for name, plan in augment.items()
    }


def fit_epochs(training: TrainingPlan, rows: int, step_seconds: float, seconds: float) -> tuple[TrainingPlan, str]:
    """As many epochs as fit into `seconds` at the measured pace, at most those wanted; and the reason.

    Ten percent are kept back: the pace of a shared machine changes.
    """
    steps_per_epoch = max(1, rows // training.batch_size)
    wanted = training.epochs * steps_per_epoch * step_seconds
    if wanted <= seconds * 0.9:
        return training, f"{training.epochs:g} epochs take about {wanted:.0f} s at the measured pace"
    epochs = max(seconds * 0.9 / (steps_per_epoch * step_seconds), 1 / steps_per_epoch)
    epochs = round(epochs, 3 if epochs < 1 else 2)
    pace = training.batch_size / step_seconds
    return replace(training, epochs=epochs), (
        f"{epochs:g} epochs are what fits into {seconds:.0f} s at the measured {pace:,.0f} examples a second "
        f"({training.epochs:g} would be of use)"
    )


FEW_STEPS = 400


def gentler(rate: float, steps: int) -> float:
    """A learning rate for so few steps that a high one has no time to pay off: falls with their square root."""
    return rate if steps >= FEW_STEPS else float(f"{rate * (max(steps, 1) / FEW_STEPS) ** 0.5:.2g}")
