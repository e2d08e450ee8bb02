"""From a plan and prepared examples to a method without answers and its batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.errors import InputError
from lamina.learn import augment
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._unlabelled import Describes, Setting
from lamina.modalities import Feature
from lamina.networks.assembly import Assembly, build_body
from lamina.networks.blocks.options import read_options
from lamina.networks.transfer.freezing import apply_freezing
from lamina.networks.transfer.weights import load_weights
from lamina.plan import Plan
from lamina.steps.learner import rows_loader
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.collapse import FIX, effective_rank, fallen
from lamina.tasks import Answering

Array = np.ndarray[Any, Any]

DESCRIBING = ("embed", "cluster")
"""Tasks whose answers are vectors, or made of vectors."""
WATCHED = 256
"""Validation rows that are looked at for whether they still differ."""


class Learning(Learns, Describes, Protocol):
    """A method without answers."""


@dataclass
class Learner:
    """What learns, on what, and how well it does."""

    method: Learning
    engine: Engine
    source: Loader
    validation: Loader
    notes: tuple[str, ...] = ()
    """What was taken from given weights."""
    describes: bool = False
    """What is sealed gives vectors."""
    say: Callable[[str], None] = lambda text: None
    """Tells the user something, once."""
    _low: int = 0

    @property
    def network(self) -> nn.Module:
        """What is sealed."""
        return self.method.sealed

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the data are."""
        return max(1, round(epochs * self.source.steps))

    def validation_scores(self) -> dict[str, float]:
        """The method's own loss on rows it does not learn from; the score is its negative. And where vectors must
        differ from row to row, how much they do; where they twice do not, the user is told.
        """

        def judge(part: Batch) -> Tensor:
            return self.method.judge(part.to(self.engine.device)).cpu()

        # Where memory does not suffice for so many rows, what compares them with each other does so among fewer.
        with self.method.evaluating():
            losses = [found for batch in self.validation.once() for _, found in self.engine.answers(judge, batch)]
        loss = float(torch.cat(losses).mean())
        apart = self.apart()
        if apart is None:
            return {"score": -loss, "loss": loss}
        self._low = self._low + 1 if apart.sentence else 0
        if self._low == 2:
            self.say(f"{apart.sentence} {FIX}")
        return {"score": -loss, "loss": loss, "spread": apart.spread, "effective_rank": apart.rank}

    @torch.no_grad()
    def apart(self) -> Apart | None:
        """How far the vectors of some validation rows lie apart; None where the method has no such vectors."""
        objective: Any = self.method.sealed
        rows = self.validation.rows[:WATCHED]
        if not len(rows):
            return None
        with self.method.evaluating() as sealed:
            inputs = self.validation.batch(rows).to(self.engine.device).inputs
            vectors = _only(sealed(inputs)).mean(dim=1) if self.describes else objective.vectors(inputs)
            if vectors is None:
                return None
            spread, least = float(objective.spread(vectors)), objective.least
            told = nn.functional.normalize(vectors.float(), dim=1) if self.describes else vectors.float()
        rank = effective_rank(told.cpu().numpy())
        return Apart(spread, rank, fallen(spread, rank, vectors.shape[1], least))


@dataclass(frozen=True)
class Apart:
    """How far vectors lie apart, in how many directions, and a sentence where training has collapsed."""

    spread: float
    rank: float
    sentence: str


def asked(plan: Plan) -> tuple[str, str]:
    """(What the answer is called, the task) of a plan that asks one without answers."""
    name, part = next(iter(plan.task.items()))
    return name, part.name


def methods_for(task: str, features: Mapping[str, Feature]) -> list[str]:
    """The methods that serve a task and read such inputs."""
    found = []
    for name in registry.names("methods"):
        module = registry.module("methods", name)
        if task in getattr(module, "GIVES", ()) and module.reads(features):
            found.append(name)
    return found


def check_method(plan: Plan, features: Mapping[str, Feature]) -> None:
    """Raises InputError where the plan's method does not serve its task, or does not read its inputs."""
    _, task = asked(plan)
    registry.module("methods", plan.method.name)
    fitting = methods_for(task, features)
    if plan.method.name not in fitting:
        raise InputError(
            f"The method {plan.method.name!r} does not serve the task {task!r} on these inputs.",
            where="method.name",
            fix=f"Choose one of: {', '.join(fitting)}.",
        )


def build(
    plan: Plan, prepared: Prepared, device: torch.device, base: Path, rows: tuple[Array, Array] | None = None
) -> Learner:
    """Networks, method, engine and batches as the plan says; random only through the plan's seed.

    Args:
        rows: training and validation rows, where not all are to be learned from.
    """
    torch.manual_seed(plan.seed)
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    check_method(plan, features)
    _check_freezing(plan)
    module = registry.module("methods", plan.method.name)
    notes: list[str] = []

    def body() -> Assembly:
        found = build_body(plan.network, features, base)
        notes.extend(load_weights(found, plan.network, base, prepared.encoders))
        found = found.to(device)
        for name, part in plan.network.items():
            apply_freezing(found, name, part.frozen)
        return found

    def views(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return augment.augment(inputs, plan.training.augment, features, None)

    gradual = tuple(name for name, part in plan.network.items() if part.frozen == "gradual")
    setting = Setting(features, body, views, plan.optimizer, plan.training.ema, device, gradual)
    options = read_options(module.Options, plan.method.options, "method.options")
    method = module.build(setting, options)
    training = plan.training
    train, validation = rows or (prepared.split.train, prepared.split.validation)
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(
        method,
        engine,
        rows_loader(plan, prepared, train, training.batch_size),
        rows_loader(plan, prepared, *_mixed(validation, max(training.batch_size, 256), plan.seed)),
        tuple(notes),
        asked(plan)[1] in DESCRIBING,
    )


def _check_freezing(plan: Plan) -> None:
    """Raises InputError for adapters: what is searched and judged by is the network's own vector."""
    for name, part in plan.network.items():
        if part.frozen == "lora":
            raise InputError(
                "Low-rank adapters are for rows with answers and texts that are written.",
                where=f"network.{name}.frozen",
                fix='Choose "none", "all" or "gradual".',
            )


def _mixed(rows: Array, most: int, seed: int) -> tuple[Array, int]:
    """(The rows in an order drawn at random, how many make a batch: at most `most`, and each about as many).

    What compares the rows of a batch with each other must not judge one class after the other, as they lie in folders,
    nor a few rows that are left over: such losses rise while the method learns.
    """
    batches = max(1, -(-len(rows) // most))
    return np.random.default_rng([seed & 0xFFFFFFFF, 3]).permutation(rows), max(1, -(-len(rows) // batches))


def width_of(learner: Learner) -> int:
    """How many numbers the sealed module answers a row with."""
    with learner.method.evaluating() as sealed:
        batch = learner.validation.batch(learner.validation.rows[:2])
        return int(_only(sealed(batch.to(learner.engine.device).inputs)).shape[-1])


def outputs(learner: Learner, task: Answering, loader: Loader) -> Array:
    """The sealed module's outputs for every row, members combined, float32 [row, width]."""
    found = np.zeros((len(loader.rows), task.width), np.float32)
    with learner.method.evaluating() as sealed:

        def answer(part: Batch) -> Array:
            answered = _only(sealed(part.to(learner.engine.device).inputs))
            return np.asarray(task.combine(answered.float()).cpu().numpy())

        for places, batch in loader.by_length():
            found[places] = np.concatenate([answered for _, answered in learner.engine.answers(answer, batch)])
    return found


class Named(nn.Module):
    """What a method seals, with its output called as the task's answer: several tasks may read the same output."""

    def __init__(self, sealed: nn.Module, name: str) -> None:
        super().__init__()
        self.sealed, self.name = sealed, name

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{name: [row, member, width]}."""
        return {self.name: _only(self.sealed(inputs))}


def _only(outputs: Mapping[str, Tensor]) -> Tensor:
    (output,) = outputs.values()
    return output


def untrained(plan: Plan, prepared: Prepared, device: torch.device, base: Path) -> Learner:
    """The same networks before any training, from scratch: what the shape of the network alone is good for."""
    networks = {name: replace(part, weights="") for name, part in plan.network.items()}
    return build(replace(plan, network=networks), prepared, device, base)
