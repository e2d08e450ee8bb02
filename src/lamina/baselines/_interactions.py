"""Tables in which two parties meet, such as users and films: who met whom, and the biases of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import BaselineFeatures, Block

Array = np.ndarray[Any, Any]

MANY = 50
"""Levels from which on a category may be a party."""
UNKNOWN = 0
ROUNDS = 10
STRENGTHS = (1.0, 3.0, 10.0, 30.0)
"""Rows with a bias of 0 that are added to those of every level; the best on the validation part is taken."""


def pair_of(features: BaselineFeatures) -> tuple[Block, Block] | None:
    """The two categories of the most levels, in the table's order; None where two do not have many."""
    many = [block for block in features.of("codes") if block.size >= MANY]
    largest = sorted(many, key=lambda block: -block.size)[:2]
    chosen = [block for block in many if block in largest]
    return (chosen[0], chosen[1]) if len(chosen) == 2 else None


@dataclass(frozen=True)
class Biases:
    """A number for every level of two categories; a row's answer is `mean` and the two of its levels.

    Koren, Bell & Volinsky 2009, "Matrix factorization techniques for recommender systems", section 4. An unknown level
    has none, so that new users and items get what the other party says.
    """

    mean: float
    first: Array
    second: Array

    def of(self, first: Array, second: Array) -> Array:
        """float64 [row] from codes [row]."""
        return np.asarray(self.mean + self.first[first] + self.second[second])


def fit_biases(first: Array, second: Array, sizes: tuple[int, int], target: Array, strength: float) -> Biases:
    """Ridge regression by alternating least squares: each party's biases in turn, given the other's."""
    mean = float(target.mean())
    found = [np.zeros(sizes[0]), np.zeros(sizes[1])]
    columns = (first, second)
    counts = [np.bincount(column, minlength=size) + strength for column, size in zip(columns, sizes, strict=True)]
    for _ in range(ROUNDS):
        for own, other in ((1, 0), (0, 1)):
            left = target - mean - found[other][columns[other]]
            found[own] = np.bincount(columns[own], left, minlength=sizes[own]) / counts[own]
            found[own][UNKNOWN] = 0.0
    return Biases(mean, *found)


def best_biases(
    train: BaselineFeatures, target: Array, validation: BaselineFeatures, truth: Array
) -> tuple[Biases, Array]:
    """The biases whose strength of regularisation serves the validation part best, and their answers to it."""
    first, second = codes(train)
    sizes = _sizes(train)
    asked = codes(validation)
    fitted = [fit_biases(first, second, sizes, target.astype(np.float64), strength) for strength in STRENGTHS]
    answers = [biases.of(*asked) for biases in fitted]
    losses = [float(((answer - truth) ** 2).mean()) if len(truth) else 0.0 for answer in answers]
    best = int(np.argmin(losses))
    return fitted[best], answers[best]


def codes(features: BaselineFeatures) -> tuple[Array, Array]:
    """The two parties' codes, int64 [row] each; unknown where out of range."""
    pair = pair_of(features)
    assert pair is not None
    first, second = (
        np.where((block.array >= 0) & (block.array < block.size), block.array, UNKNOWN).astype(np.int64)
        for block in pair
    )
    return first, second


def _sizes(features: BaselineFeatures) -> tuple[int, int]:
    pair = pair_of(features)
    assert pair is not None
    return pair[0].size, pair[1].size
