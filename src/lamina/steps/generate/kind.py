"""The tasks that make pictures: what sets one apart from the other in the steps that they go through together."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.schema import Json
from lamina.data.split import Split
from lamina.evaluate.results import Results
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.finish import Course
from lamina.steps.generate.judging import Judge
from lamina.steps.generate.pictures import Pictures
from lamina.steps.measure import Batches, Measured
from lamina.steps.prepare import Prepared
from lamina.steps.train import Trainable

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pace:
    """How long things take.

    Attributes:
        steps: of a judge's training.
        step: seconds of one of them.
        making: seconds of one made picture.
        asking: seconds of one picture that the judge looks at.
    """

    steps: int
    step: float
    making: float
    asking: float


class Maker(Trainable, Measured, Protocol):
    """What learns to make pictures.

    Attributes:
        judge: what scores are computed on; it is trained before training begins.
        sheets: where what is made while it learns is kept.
    """

    judge: Judge | None
    sheets: Path | None

    @property
    def source(self) -> Batches: ...

    @property
    def pictures(self) -> Pictures: ...

    @property
    def images(self) -> Array:
        """uint8 [row of the table, height, width, channel]."""
        ...

    @property
    def judged(self) -> Array:
        """Training rows that a judge learns from."""
        ...

    @property
    def scored(self) -> bool:
        """Is there enough in the validation part to score on?"""
        ...

    def trial(self, count: int) -> None:
        """Make so many pictures, to see how long it takes."""
        ...

    def seconds_scoring(self, parts: Split, pace: Pace) -> float:
        """What one score during the training takes."""
        ...

    def seconds_after(self, parts: Split, pace: Pace) -> float:
        """What the fifth step takes."""
        ...


@dataclass(frozen=True)
class Kind:
    """One of these tasks.

    Attributes:
        side: of pictures where nothing is said, without and with a GPU: to make larger ones takes days.
        check: raises InputError for wrong options of the task.
        defaults: the plan with method, optimizer, schedule, training and their reasons.
        build: networks, method, engine and batches as the plan says; random only through the plan's seed.
        said: sentences on what is learned from, before the training.
        test: compare, seal, prove, show, report.
        trained: a run's generator with its final weights, at rest; needs no data.
    """

    side: Mapping[bool, int]
    check: Callable[[Mapping[str, Json]], None]
    defaults: Callable[[Plan, Prepared], Plan]
    build: Callable[[Plan, Prepared, torch.device], Maker]
    said: Callable[[Any, Prepared], list[str]]
    test: Callable[[Course, Prepared, Any], Results]
    trained: Callable[[Run, Plan, Mapping[str, Tensor]], nn.Module]


def kind_of(plan: Plan) -> Kind:
    """What sets the plan's task apart: the `KIND` in the module `task` of its folder in `lamina.steps`."""
    (name,) = (part.name for part in plan.task.values())
    found: Kind = importlib.import_module(f"lamina.steps.{name}.task").KIND
    return found
