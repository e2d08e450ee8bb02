"""The mean and a bias for each of two parties: how high a user rates and how high a film is rated."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._interactions import Biases, best_biases, codes, pair_of
from lamina.baselines._outputs import number_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "biases of both parties"


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Numbers asked of tables with categories."""
    return task == "regress" and "category" in kinds


def reads(features: BaselineFeatures) -> bool:
    """Where two categories have many levels."""
    return pair_of(features) is not None


@dataclass(frozen=True)
class PairBiases:
    """The fitted biases."""

    biases: Biases
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, 2]."""
        return number_output(self.biases.of(*codes(features)), self.residual)


def fit(
    train: BaselineFeatures,
    target: Array,
    task: Task,
    *,
    validation: tuple[BaselineFeatures, Array],
    seed: int,
    seconds: float,
    threads: int = 1,
    clock: Clock = time.monotonic,
) -> Baseline:
    """Fit with several strengths of regularisation and keep the best on the validation part."""
    biases, answers = best_biases(train, target, *validation)
    return PairBiases(biases, validation[1] - answers)
