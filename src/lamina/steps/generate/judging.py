"""Who says how real a made picture looks: a classifier trained on the same data, whose features are compared.

Figures of other papers come from a network trained on ImageNet; these do not compare with them. They say how near the
made pictures come in what tells the data's own classes apart; without classes, in what tells a picture from the same
one mirrored or upside down (after Gidaris et al. 2018, "Unsupervised representation learning by predicting image
rotations"; turns by a quarter would need squares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss, Source
from lamina.learn.engine import Engine
from lamina.learn.loop import Limits, fit
from lamina.learn.schedules import Schedule
from lamina.methods._generative import CLASS
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature
from lamina.networks import resnet
from lamina.plan import OptimizerPlan, SchedulePlan

Array = np.ndarray[Any, Any]

PICTURE, ANSWER = "picture", "answer"
WAYS = ((), (1,), (2,), (1, 2))
"""Axes that a picture is mirrored along, where there are no classes: which of these it was is then the question."""
BATCH = 128
RATE = 3e-3
WIDTH = 16
SAMPLE_SEED = 11


class Judge(nn.Module):
    """A small residual network: its vector is what pictures are compared by.

    Args:
        feature: of the pictures.
        answers: how many.
    """

    def __init__(self, feature: Feature, answers: int) -> None:
        super().__init__()
        self.body = resnet.build({PICTURE: feature}, resnet.Options(width=WIDTH, pooling="average"))
        self.head = nn.Linear(self.body.output.width, answers)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log-odds [row, answer] of uint8 pictures [row, height, width, channel]."""
        return {ANSWER: self.head(self.body(inputs)[:, 0])}

    def features(self, pictures: Array, device: torch.device) -> Array:
        """float32 [row, width] of uint8 pictures."""
        return self._each(pictures, device, lambda inputs: self.body(inputs)[:, 0])

    def answers(self, pictures: Array, device: torch.device) -> Array:
        """int64 [row]: the most probable answer."""
        found: Array = self._each(pictures, device, lambda inputs: self(inputs)[ANSWER]).argmax(axis=1)
        return found

    def _each(self, pictures: Array, device: torch.device, ask: Callable[[dict[str, Tensor]], Tensor]) -> Array:
        self.eval()
        with torch.inference_mode():
            parts = [
                ask({PICTURE: torch.from_numpy(np.ascontiguousarray(pictures[start : start + 256])).to(device)}).cpu()
                for start in range(0, len(pictures), 256)
            ]
        return np.asarray(torch.cat(parts).numpy())


def fresh(feature: Feature, classes: int, seed: int, device: torch.device) -> Judge:
    """An untrained judge: of `classes`, or of mirror images where there are none."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    judge = Judge(feature, classes or len(WAYS)).to(device)
    torch.set_rng_state(state)
    return judge


@dataclass(frozen=True)
class Drawn:
    """A source of (pictures, answers) that are a pure function of the step.

    Attributes:
        draw: from a generator of its step to uint8 pictures and int64 classes (-1 where there are none).
        classes: whether classes are the answers, rather than mirror images.
        seed: of everything random.
    """

    draw: Callable[[np.random.Generator], tuple[Array, Array]]
    classes: bool
    seed: int

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for ever."""
        step = start
        while True:
            random = np.random.default_rng([self.seed, SAMPLE_SEED, step])
            pictures, answers = self.draw(random)
            if not self.classes:
                pictures, answers = turned(pictures, random)
            inputs = {PICTURE: torch.from_numpy(np.ascontiguousarray(pictures))}
            yield step, Batch(torch.arange(len(pictures)), inputs, {CLASS: torch.from_numpy(answers)})
            step += 1

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


def turned(pictures: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Pictures mirrored in one of the `WAYS` each, and which way it was."""
    ways = random.integers(0, len(WAYS), len(pictures))
    found = np.empty_like(pictures)
    for number, axes in enumerate(WAYS):
        found[ways == number] = np.flip(pictures[ways == number], axes)
    return found, ways


def of_rows(pictures: Array, classes: Array, rows: Array) -> Callable[[np.random.Generator], tuple[Array, Array]]:
    """Draws from the encoded pictures of some rows."""

    def draw(random: np.random.Generator) -> tuple[Array, Array]:
        chosen = np.sort(random.choice(rows, min(BATCH, len(rows)), replace=len(rows) < BATCH))
        return np.asarray(pictures[chosen]), classes[chosen]

    return draw


def trained(judge: Judge, source: Source, steps: int, engine: Engine) -> Judge:
    """The judge after so many steps.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """

    def loss(outputs: Mapping[str, Tensor], batch: Batch) -> Loss:
        each = functional.cross_entropy(outputs[ANSWER].float(), batch.targets[CLASS], reduction="none")
        return Loss(each.sum(), torch.tensor(float(len(each)), device=each.device))

    method = Supervised(
        judge, loss, optimizers.build([{"params": list(judge.parameters())}], OptimizerPlan("adamw", RATE))
    )
    status = fit(
        method,
        source,
        Schedule.over(steps, SchedulePlan("one_cycle")),
        Engine(engine.device, clip=1.0),
        limits=Limits(log_steps=max(1, steps)),
    )
    if status.stopped == "interrupted":
        raise KeyboardInterrupt
    return judge
