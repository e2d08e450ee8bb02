"""From a plan and prepared interactions to a recommender, its method and its batches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina import registry
from lamina.errors import InputError
from lamina.evaluate.recommended import TOP, answered, by_user, ndcg, recall
from lamina.learn.engine import Engine
from lamina.learn.windows import Windows
from lamina.methods import next_item
from lamina.modalities import Feature, items
from lamina.networks.blocks.options import read_options
from lamina.networks.recommenders._items import Items
from lamina.networks.recommenders._recommender import ANSWER, HISTORY, About, Recommender
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.recommend.interactions import TRAIN, Asked
from lamina.steps.recommend.prepare import Prepared, encoded_rows, encoder_of
from lamina.tasks.recommend import UNLABELLED

Array = np.ndarray[Any, Any]
FOLDER = "networks/recommenders"
FITTED = 1_000
"""Validation rows, at most, by which it is told how often cold items are taken."""


@dataclass
class Learner:
    """What learns, on what, and how well it does."""

    method: next_item.NextItem
    engine: Engine
    source: Windows
    prepared: Prepared

    @property
    def network(self) -> Recommender:
        """What is sealed."""
        return self.method.recommender

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the data are."""
        return max(1, round(epochs * self.source.steps))

    def validation_scores(self) -> dict[str, float]:
        """NDCG and recall over users of the validation part; NDCG is what counts."""
        which = self.prepared.validation
        self._fit_offset()
        with self.method.evaluating() as network:
            places, _ = answered(lambda rows: self._scores(network, which, rows), which)
        users = which.user
        found = {
            f"ndcg@{TOP}": by_user(ndcg(places), users).mean(),
            f"recall@{TOP}": by_user(recall(places), users).mean(),
        }
        return {"score": float(found[f"ndcg@{TOP}"]), **{name: float(value) for name, value in found.items()}}

    def _fit_offset(self) -> None:
        """Fit how much higher or lower all cold items score to how often one is taken in the validation part.

        Their log-odds are shifted alike, so that their probabilities together are in the mean what they ought to be:
        the estimate of highest likelihood. It never changes what the network learns.
        """
        which, items = self.prepared.validation, self.network.items
        warm = len(self.prepared.interactions.counts)
        rows = np.flatnonzero(which.target > 0)
        if not items.cold or not self.prepared.judged_cold or not len(rows):
            return
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), FITTED)).astype(np.int64))]
        odds = []
        with self.method.evaluating() as network:
            for some in np.array_split(rows, math.ceil(len(rows) / 256)):
                scores = self._scores(network, which, some).astype(np.float64)
                odds.append(_logsumexp(scores[:, warm:]) - _logsumexp(scores[:, :warm]))
            before = float(items.offset)
        # Half a row more of each kind: where no cold item was taken they are seldom wanted, not never.
        share = ((which.target[rows] > warm).sum() + 0.5) / (len(rows) + 1)
        offset = before + shift(np.concatenate(odds), float(share))
        items.offset.fill_(offset)
        if self.method.average is not None:
            self.method.average["items.offset"].fill_(offset)

    def outputs(self, which: Asked) -> Iterator[tuple[Array, Array]]:
        """(Row numbers, logits [row, item]) of the sealed module, batch after batch."""
        with self.method.evaluating() as network:
            for start in range(0, len(which), 256):
                rows = np.arange(start, min(start + 256, len(which)))
                yield rows, self._scores(network, which, rows)

    def _scores(self, network: Any, which: Asked, rows: Array) -> Array:
        inputs = encoded_rows(self.prepared, which, rows)
        # Padding that all rows share costs as much as items.
        used = max(8, int((inputs[HISTORY] > 0).sum(axis=1).max(initial=0)))
        inputs[HISTORY] = inputs[HISTORY][:, :used]
        tensors = {name: torch.from_numpy(array).to(self.engine.device) for name, array in inputs.items()}
        found: Array = network(tensors)[ANSWER][:, 0].float().cpu().numpy()
        return found


def _logsumexp(scores: Array) -> Array:
    """[row], of [row, item]."""
    highest = scores.max(axis=1)
    return np.asarray(highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)))


def shift(odds: Array, share: float) -> float:
    """What has to be added to log-odds, [row], so that the mean probability is `share`; bisection."""
    low, high = (math.log(share / (1 - share)) - odds.max() - 1, math.log(share / (1 - share)) - odds.min() + 1)
    for _ in range(60):
        middle = (low + high) / 2
        mean = float((1 / (1 + np.exp(-np.clip(odds + middle, -700, 700)))).mean())
        low, high = (middle, high) if mean < share else (low, middle)
    return float((low + high) / 2)


def build(plan: Plan, prepared: Prepared, device: torch.device) -> Learner:
    """Network, method, engine and batches as the plan says; random only through the plan's seed.

    Raises:
        InputError: a name, option or value that does not exist, or another method.
    """
    check_method(plan)
    options = read_options(next_item.Options, plan.method.options, "method.options")
    torch.manual_seed(plan.seed)
    found = prepared.interactions
    network = recommender(
        plan,
        {name: encoder.feature for name, encoder in prepared.encoders.items()},
        torch.from_numpy(found.counts.astype(np.float32)),
        torch.from_numpy(prepared.about_items),
        options.hidden,
    )
    training = plan.training
    method = next_item.build(network.to(device), options, plan.optimizer, training.ema)
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(method, engine, _windows(plan, prepared, options), prepared)


def recommender(
    plan: Plan, features: Mapping[str, Feature], counts: Tensor, about_items: Tensor, hidden: float = 0.0
) -> Recommender:
    """The plan's network, with fresh weights from PyTorch's generator.

    Args:
        features: of the inputs, "history" among them.
        counts: float32 [item], interactions of each.
        about_items: float32 [item, feature].
        hidden: as in `Items`.
    """
    part = plan.network[HISTORY]
    module = registry.module(FOLDER, part.name)
    options = read_options(module.Options, part.options, f"network.{HISTORY}")
    asked = plan.task[UNLABELLED].options
    about = {name: feature for name, feature in features.items() if name != HISTORY}
    tower = Items(counts, about_items, options.width, hidden)
    steps = int(asked["history"])
    return Recommender(tower, About(about, options.width), module.build(steps, options), steps, bool(asked["repeat"]))


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> Recommender:
    """A run's network with its final weights, in evaluation mode; needs no data."""
    states = json.loads(run.prepared.read_text(encoding="utf-8"))["encoders"]
    fields = plan.network[HISTORY].fields
    features: dict[str, Feature] = {HISTORY: items.Encoder.restore(states[HISTORY]).feature}
    for name in fields:
        if name != HISTORY:
            modality = next(field.modality for field in plan.schema if field.name == name)
            features[name] = encoder_of(modality).restore(states[name]).feature
    network = recommender(plan, features, weights["items.counts"], weights["items.features"])
    network.load_state_dict(dict(weights))
    return network.eval()


def check_method(plan: Plan) -> None:
    """Raises InputError where the plan's method does not serve this task."""
    registry.module("methods", plan.method.name)
    fitting = [
        name
        for name in registry.names("methods")
        if "recommend" in getattr(registry.module("methods", name), "GIVES", ())
    ]
    if plan.method.name not in fitting:
        raise InputError(
            f"The method {plan.method.name!r} does not serve the task 'recommend'.",
            where="method.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )


def _windows(plan: Plan, prepared: Prepared, options: next_item.Options) -> Windows:
    found = prepared.interactions
    kept = (found.part == TRAIN) & (found.item > 0)
    starts = np.concatenate([[0], np.cumsum(kept)])[found.starts]
    when = found.recency[kept]
    weights = np.ones(len(when))
    if options.half_life:
        weights = 0.5 ** ((when.max(initial=0.0) - when) / (options.half_life * max(np.ptp(when), 1e-9)))
    return Windows(
        codes=found.item[kept], weights=weights.astype(np.float32), starts=starts,
        length=int(plan.task[UNLABELLED].options["history"]), batch_size=plan.training.batch_size,
        about=prepared.about_users, seed=plan.seed,
    )  # fmt: skip
