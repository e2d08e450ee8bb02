"""From a plan and prepared pictures to a method that turns those of one class, its batches and its judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.split import Split
from lamina.errors import InputError, nearest
from lamina.evaluate.generated import Moments, frechet
from lamina.files import write_bytes
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns
from lamina.learn.unpaired import Unpaired
from lamina.methods._generative import RESULT, SOURCE, Setting, Turns
from lamina.methods._relativistic import scaled
from lamina.modalities import image
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.generate.judging import Judge
from lamina.steps.generate.kind import Pace
from lamina.steps.generate.learner import MOST_COMPARED, MOST_SCORED, method_of, some_of, trained_method, translate_of
from lamina.steps.generate.pictures import CODES, Pictures, only_pictures, with_classes
from lamina.steps.generate.sheets import sheet
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.labels import labels_of
from lamina.steps.unlabelled.learner import asked, check_method
from lamina.tasks import check_width, restyle

Array = np.ndarray[Any, Any]

LEAST = 2
"""Pictures of each class that a distance can be computed from."""
SHEET = 8
"""Pictures that are turned for a sheet while it learns."""
PARTS = {"train": "to learn from", "test": "to test on"}


class Turning(Learns, Turns, Protocol):
    """A method that turns pictures."""


@dataclass(frozen=True)
class Sides:
    """The two classes among the data's pictures.

    Attributes:
        pictures: all of them.
        source, result: codes of the class that is turned, and of the one that it is to look like.
    """

    pictures: Pictures
    source: int
    result: int

    def rows(self, part: Array, code: int) -> Array:
        """Those of a part that are of a class."""
        found: Array = part[self.pictures.codes[part] == code]
        return found

    def class_of(self, code: int) -> int:
        """The judge's number of a class."""
        return code - CODES

    def name(self, code: int) -> str:
        """What a class is called."""
        return self.pictures.classes[self.class_of(code)]


def sides_of(prepared: Prepared, plan: Plan) -> Sides:
    """The two classes.

    Raises:
        InputError: the inputs are not one field of pictures, there are no classes, only one, not those that are asked
            for, or a part of the data has too few pictures of one.
    """
    name, feature = only_pictures(prepared, "restyle")
    encoder: Any = prepared.encoders[name]
    if encoder.resize == "crop":
        raise InputError(
            "Of the pictures only the middle is kept, so they cannot be turned to their edges.",
            where=f"schema.{name}.resize",
            fix=f"Set schema.{name}.resize=pad or stretch.",
        )
    labels = labels_of(prepared.table, prepared.schema)
    if labels is None:
        raise InputError(
            "Nothing says of which class a picture is.",
            where=prepared.table.name,
            fix="Give a folder that has a folder of pictures for each class, or name the column of classes: "
            "--target COLUMN",
        )
    train = labels.values[prepared.split.train]
    known = sorted({str(value) for value in train if value is not None})
    if len(known) < 2:
        raise InputError(
            f"The pictures to learn from are of one class only: {', '.join(known) or 'none has a name'}.",
            where=f"column {labels.name}",
            fix="Give pictures of two classes; no picture needs a counterpart in the other class.",
        )
    wanted = restyle.classes_asked(plan.task[asked(plan)[0]].options)
    for option, text in zip(("source", "result"), wanted, strict=True):
        if text not in known:
            raise InputError(
                f"No picture is of the class {text!r}.", where=f"task.options.{option}", fix=nearest(text, known)
            )
    pictures = with_classes(name, feature, labels, train)
    codes = [CODES + pictures.classes.index(text) for text in wanted]
    found = Sides(pictures, *codes)
    for part, what in PARTS.items():
        for code in codes:
            number = len(found.rows(getattr(prepared.split, part), code))
            if number < LEAST:
                raise InputError(
                    f"There {'is only one picture' if number else 'are no pictures'} of {found.name(code)!r} {what}.",
                    where=f"column {labels.name}, {prepared.split.how}",
                    fix="Give more pictures of it, hold out a larger share for testing (--set data.test_share=0.4), or "
                    "name test data of your own with pictures of both classes: --test DATA",
                )
    return found


@dataclass
class Learner:
    """What learns, on what, and how well it does."""

    method: Turning
    engine: Engine
    source: Unpaired
    validation: Loader
    images: Array
    judged: Array
    sides: Sides
    task: restyle.Task
    judge: Judge | None = None
    """Scores are computed on its features; it is trained before training begins."""
    sheets: Path | None = None
    """Where what is made while it learns is kept."""
    _real: Moments | None = field(default=None, repr=False)

    @property
    def pictures(self) -> Pictures:
        return self.sides.pictures

    @property
    def network(self) -> nn.Module:
        """All that learns."""
        return self.method.network

    @property
    def scored(self) -> bool:
        """Are there enough pictures of both classes to score on?"""
        return all(len(self._validating(code)) >= LEAST for code in (self.sides.source, self.sides.result))

    def _validating(self, code: int) -> Array:
        return some_of(self.sides.rows(self.validation.rows, code), MOST_SCORED)

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the larger class are."""
        return max(1, round(epochs * self.source.steps))

    def trial(self, count: int) -> None:
        """Turn so many pictures, to see how long it takes."""
        turned(self, np.asarray(self.images[np.resize(self.source.first.rows, count)]))

    def seconds_scoring(self, parts: Split, pace: Pace) -> float:
        """What one score during the training takes."""
        return self._validated() * (pace.making + pace.asking)

    def _validated(self) -> int:
        return max(len(self._validating(code)) for code in (self.sides.source, self.sides.result))

    def seconds_after(self, parts: Split, pace: Pace) -> float:
        """What the fifth step takes: there and back, and again by the sealed model; what it is compared with."""
        rows = [
            min(len(self.sides.rows(parts.test, code)), MOST_COMPARED)
            for code in (self.sides.source, self.sides.result)
        ]
        return 4 * rows[0] * pace.making + (3 * rows[0] + 2 * rows[1]) * pace.asking

    def validation_scores(self) -> dict[str, float]:
        """The Fréchet distance of turned validation pictures to real ones on the judge's features; the score is its
        negative."""
        assert self.judge is not None
        rows, device = self._validating(self.sides.source), self.engine.device
        if self._real is None:
            real = np.asarray(self.images[self._validating(self.sides.result)])
            self._real = Moments.of(self.judge.features(real, device))
        after = turned(self, np.asarray(self.images[rows]))
        distance = frechet(self._real, Moments.of(self.judge.features(after, device)))
        if self.sheets is not None:
            self.sheets.mkdir(exist_ok=True)
            shown = np.stack([after[:SHEET], np.asarray(self.images[rows[:SHEET]])], axis=1)
            content = sheet(shown.reshape(-1, *shown.shape[2:]), 2)
            write_bytes(self.sheets / f"{self.engine.step + 1:09d}.png", content)
        return {"score": -distance, "frechet": distance}


def outputs(learner: Learner, pictures: Array, back: bool = False) -> Array:
    """float32 [row, channel * height * width] from 0 to 1: what the sealed network's outputs are to be.

    Args:
        pictures: uint8 [row, height, width, channel].
        back: the other direction.
    """
    found = []
    with learner.method.evaluating() as makers:
        sealed = Sealing(makers.back if back else makers.onward, learner.task)
        for start in range(0, len(pictures), 256):
            part = torch.from_numpy(np.ascontiguousarray(pictures[start : start + 256])).to(learner.engine.device)
            found.append(learner.task.combine(sealed({learner.task.source: part})[learner.task.name]).cpu().numpy())
    return np.concatenate(found)


def turned(learner: Learner, pictures: Array, back: bool = False) -> Array:
    """uint8 pictures [row, height, width, channel]; arguments as of `outputs`."""
    return learner.task.pictures(outputs(learner, pictures, back))


class Sealing(nn.Module):
    """One direction as it is sealed: encoded pictures by field to one row of numbers."""

    def __init__(self, maker: nn.Module, task: restyle.Task) -> None:
        super().__init__()
        self.maker, self.source, self.name = maker, task.source, task.name

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{name: [row, 1, channel * height * width]} from 0 to 1."""
        made: Tensor = self.maker(scaled(inputs[self.source]))
        return {self.name: ((made + 1) / 2).flatten(1).unsqueeze(1)}


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    """A run's maker from source to result with its final weights, at rest; needs no data."""
    maker: nn.Module = trained_method(run, plan, weights).network.makers.onward
    return maker.eval()


def build(plan: Plan, prepared: Prepared, device: torch.device) -> Learner:
    """Networks, method, engine and batches as the plan says; random only through the plan's seed."""
    torch.manual_seed(plan.seed)
    sides = sides_of(prepared, plan)
    pictures, training, parts = sides.pictures, plan.training, prepared.split
    check_method(plan, {pictures.field: pictures.feature})
    rows = [sides.rows(parts.train, code) for code in (sides.source, sides.result)]
    translate = translate_of(sum(map(len, rows)))
    method = method_of(
        plan, Setting(pictures.field, pictures.shape, 0, plan.optimizer, training.ema, translate, device)
    )

    def loader(chosen: Array, size: int, more: int = 0) -> Loader:
        return Loader(
            prepared.examples, chosen, [pictures.field], [], size, plan.seed + more, shuffle=plan.training.shuffle
        )

    size = min(training.batch_size, *map(len, rows))
    # Two orders of their own: with one, classes that are equally large would meet in the same pairs for ever.
    source = Unpaired(loader(rows[0], size), loader(rows[1], size, 1), (SOURCE, RESULT))
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    known = parts.train[pictures.codes[parts.train] >= CODES]
    validation = loader(
        np.sort(np.concatenate([sides.rows(parts.validation, code) for code in (sides.source, sides.result)])), 256
    )
    encoder = prepared.encoders[pictures.field]
    assert isinstance(encoder, image.Encoder)
    task = restyle.Task(
        asked(plan)[0], pictures.field, encoder.height, encoder.width, encoder.channels, encoder.resize,
        sides.name(sides.source), sides.name(sides.result),
    )  # fmt: skip
    check_width(task, (pictures.field,))
    images = prepared.examples.arrays[pictures.field]
    return Learner(method, engine, source, validation, images, known, sides, task)
