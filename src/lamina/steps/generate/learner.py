"""From a plan and prepared pictures to a method that makes new ones, its batches and its judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.data.examples import Examples
from lamina.data.schema import Schema
from lamina.data.split import Split
from lamina.evaluate.generated import Moments, frechet
from lamina.files import write_bytes
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.methods._generative import CLASS, Makes, Setting
from lamina.networks.adversarial.generator import NOISE
from lamina.networks.blocks.options import read_options
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import prepare
from lamina.steps.generate import judging
from lamina.steps.generate.judging import Judge
from lamina.steps.generate.kind import Pace
from lamina.steps.generate.pictures import CODES, Pictures, pictures_of
from lamina.steps.generate.sheets import sheet
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.learner import asked, check_method
from lamina.tasks import check_width, generate

Array = np.ndarray[Any, Any]

MOST_SCORED, MOST_COMPARED = 2_000, 5_000
"""Validation pictures that a score during training is computed from, and test pictures at the end: at most, and as many
made ones."""
FEW_ROWS = 30_000
"""Below so many training pictures the critic sees them shifted: it would learn them by heart."""
TRANSLATE = 0.125
ACROSS = 8
"""Pictures in a row of a sheet."""
MOST_CLASSES = 12
"""Classes that a sheet shows."""


class Making(Learns, Makes, Protocol):
    """A method that makes pictures."""


@dataclass
class Learner:
    """What learns, on what, and how well it does."""

    method: Making
    engine: Engine
    source: Loader
    validation: Loader
    pictures: Pictures
    judge: Judge | None = None
    """Scores are computed on its features; it is trained before training begins."""
    sheets: Path | None = None
    """Where what is made while it learns is kept."""
    _real: Moments | None = field(default=None, repr=False)

    @property
    def network(self) -> nn.Module:
        """All that learns."""
        return self.method.network

    @property
    def images(self) -> Array:
        """uint8 [row of the table, height, width, channel]."""
        return self.source.examples.arrays[self.pictures.field]

    @property
    def judged(self) -> Array:
        """Training rows that a judge can learn from: those with a class, where there are classes."""
        rows = self.source.rows
        return rows[self.pictures.answers()[rows] >= 0] if self.pictures.label else rows

    @property
    def scored(self) -> bool:
        """Is there more than one picture to score on?"""
        return len(self.validation.rows) > 1

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the data are."""
        return max(1, round(epochs * self.source.steps))

    def trial(self, count: int) -> None:
        """Make so many pictures, to see how long it takes."""
        make(self, np.resize(self.pictures.codes[self.source.rows[:count]], count), seed=1)

    def seconds_scoring(self, parts: Split, pace: Pace) -> float:
        """What one score during the training takes."""
        return min(len(parts.validation), MOST_SCORED) * (pace.making + pace.asking)

    def seconds_after(self, parts: Split, pace: Pace) -> float:
        """What the fifth step takes: comparing, and where there are classes another judge, of made pictures."""
        comparing = min(len(parts.test), MOST_COMPARED) * (pace.making + 4 * pace.asking)
        return comparing + (pace.steps * (pace.step + judging.BATCH * pace.making) if self.pictures.label else 0.0)

    def validation_scores(self) -> dict[str, float]:
        """The Fréchet distance to the validation pictures on the judge's features; the score is its negative."""
        assert self.judge is not None
        rows = some_of(self.validation.rows, MOST_SCORED)
        if self._real is None:
            self._real = Moments.of(self.judge.features(np.asarray(self.images[rows]), self.engine.device))
        made = make(self, self.pictures.codes[rows], seed=1)
        distance = frechet(self._real, Moments.of(self.judge.features(made, self.engine.device)))
        if self.sheets is not None:
            self.sheets.mkdir(exist_ok=True)
            shown = sheet(make(self, codes_shown(self.pictures), seed=2), ACROSS)
            write_bytes(self.sheets / f"{self.engine.step + 1:09d}.png", shown)
        return {"score": -distance, "frechet": distance}


def some_of(rows: Array, most: int) -> Array:
    """At most so many of the rows, always the same ones, drawn at random: folders come class by class."""
    if len(rows) <= most:
        return rows
    found: Array = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return found


def noise_of(rows: int, width: int, seed: int) -> Array:
    """float32 [row, width], standard normal."""
    return np.random.default_rng([seed, width]).standard_normal((rows, width), dtype=np.float32)


def outputs(learner: Learner, noise: Array, codes: Array) -> Array:
    """float32 [row, height * width * channels] from 0 to 1: what the sealed network's outputs are to be."""
    found = []
    task = task_of(learner.pictures)
    device = learner.engine.device
    with learner.method.evaluating() as generator:
        sealed = Sealing(generator, learner.pictures)
        for start in range(0, len(noise), 256):
            inputs: dict[str, Tensor] = {generate.NOISE: torch.from_numpy(noise[start : start + 256]).to(device)}
            if learner.pictures.label:
                inputs[learner.pictures.label] = torch.from_numpy(codes[start : start + 256]).to(device)
            found.append(task.combine(sealed(inputs)[generate.UNLABELLED]).cpu().numpy())
    return np.concatenate(found)


def make(learner: Learner, codes: Array, seed: int) -> Array:
    """uint8 pictures [row, height, width, channel] of these classes."""
    noise = noise_of(len(codes), learner.method.noise, seed)
    return task_of(learner.pictures).pictures(outputs(learner, noise, codes))


def codes_shown(pictures: Pictures, across: int = ACROSS) -> Array:
    """int64 [row of a sheet * across]: a class for each row of a sheet, four rows where there are none."""
    rows = np.arange(min(len(pictures.classes), MOST_CLASSES)) + CODES if pictures.classes else np.ones(4, np.int64)
    return np.repeat(rows, across)


class Sealing(nn.Module):
    """The generator as it is sealed: inputs by field, the picture as one row of numbers."""

    def __init__(self, generator: nn.Module, pictures: Pictures) -> None:
        super().__init__()
        self.generator, self.label = generator, pictures.label

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"picture": [row, 1, height * width * channels]} from -1 to 1."""
        named = {NOISE: inputs[generate.NOISE]}
        if self.label:
            named[CLASS] = inputs[self.label]
        made = self.generator(named).permute(0, 2, 3, 1)
        return {generate.UNLABELLED: made.flatten(1).unsqueeze(1)}


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's generator with its final weights, at rest; needs no data."""
    known = weights.get("known.weight")
    generator: nn.Module = trained_method(run, plan, weights, 0 if known is None else len(known)).network.generator
    return generator.eval()


def trained_method(run: Run, plan: Plan, weights: Mapping[str, Tensor], classes: int = 0) -> Any:
    """A run's method with its final weights.

    Args:
        classes: how many codes a class has.
    """
    encoders, _ = prepare.restored(run, plan, Schema(plan.schema))
    (encoder,) = encoders.values()
    height, width, channels = encoder.feature.shape
    setting = Setting("", (height, width, channels), classes, plan.optimizer, 0.0, 0.0, torch.device("cpu"))
    method = method_of(plan, setting)
    method.load(weights)
    return method


def method_of(plan: Plan, setting: Setting) -> Any:
    """The plan's method, with fresh weights."""
    module = registry.module("methods", plan.method.name)
    return module.build(setting, read_options(module.Options, plan.method.options, "method.options"))


def translate_of(rows: int) -> float:
    """How far critics see so many training pictures shifted, as a share of a side."""
    return TRANSLATE if rows < FEW_ROWS else 0.0


def task_of(pictures: Pictures) -> generate.Task:
    """What the sealed model answers with."""
    return generate.Task(generate.UNLABELLED, pictures.shape, pictures.label, pictures.classes)


def build(plan: Plan, prepared: Prepared, device: torch.device) -> Learner:
    """Networks, method, engine and batches as the plan says; random only through the plan's seed."""
    torch.manual_seed(plan.seed)
    pictures = pictures_of(prepared)
    check_width(task_of(pictures), (pictures.field,))
    check_method(plan, {pictures.field: pictures.feature})
    assert asked(plan)[1] == "generate"
    training, parts = plan.training, prepared.split
    translate = translate_of(len(parts.train))
    setting = Setting(pictures.field, pictures.shape, pictures.size, plan.optimizer, training.ema, translate, device)
    method = method_of(plan, setting)
    arrays = {pictures.field: prepared.examples.arrays[pictures.field], CLASS: pictures.codes}
    examples = Examples(arrays, prepared.examples.rows)
    targets = [CLASS] if pictures.label else []

    def rows(chosen: Array, size: int) -> Loader:
        size = min(size, max(len(chosen), 1))
        return Loader(examples, chosen, [pictures.field], targets, size, plan.seed, shuffle=training.shuffle)

    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(method, engine, rows(parts.train, training.batch_size), rows(parts.validation, 256), pictures)
