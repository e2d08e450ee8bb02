"""What testing without answers begins with, and what each task makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.findings import AuditFinding
from lamina.data.schema import Json
from lamina.evaluate.results import Exhibit, Interval, TargetResult
from lamina.plan import Plan
from lamina.steps.learner import loader
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.labels import Labels
from lamina.steps.unlabelled.learner import Learner, asked, outputs
from lamina.tasks import Answering

Array = np.ndarray[Any, Any]

NO_LABELS = "There are no labels to judge by (name a column of them with --target: nothing learns from it)"


@dataclass(frozen=True)
class Trained:
    """A network that has learned without answers.

    Attributes:
        labels: that judge, where there are any.
        ordinary: the label of ordinary rows, where the user said it.
        seconds: what it took so far.
        base: the folder that relative paths in the plan start from.
    """

    plan: Plan
    prepared: Prepared
    learner: Learner
    labels: Labels | None
    ordinary: str | None
    seconds: float
    base: Path

    @property
    def name(self) -> str:
        """What the answer is called."""
        return asked(self.plan)[0]

    @property
    def options(self) -> Mapping[str, Json]:
        """The task's."""
        return self.plan.task[self.name].options

    def outputs(self, task: Answering, rows: Array, learner: Learner | None = None) -> Array:
        """[row, width]: what this learner, or another one, answers for some rows."""
        return outputs(learner or self.learner, task, loader(self.plan, self.prepared, rows))


@dataclass(frozen=True)
class Effort:
    """What a task's own part of the fifth step takes, to be kept back of a budget.

    Attributes:
        answers: of a network, beside those for the validation and test parts.
        seconds: of all else that takes long.
    """

    answers: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Tested:
    """What the fifth step found out about one task.

    Attributes:
        task: as it will be sealed.
        outputs: for the test rows, [row, width].
        result: scores and verdict.
        exhibits: to be looked at in the report.
        facts: for the model card, besides the scores.
        said: sentences for the user.
        findings: for the report, beside those of the audit.
    """

    task: Answering
    outputs: Array
    result: TargetResult
    exhibits: tuple[Exhibit, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    findings: tuple[AuditFinding, ...] = ()


def plain_figure(value: float, higher_is_better: bool = True) -> Interval:
    """A figure without an interval."""
    return Interval(value, math.nan, math.nan, higher_is_better)
