"""Do two networks' outputs give the same answers, where the answers are no labels and no single number?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LARGEST = 1e-3
"""Of a difference, in units of the outputs' spread: what rounding in another order may bring. EfficientNet's vectors of
stamps differed by 1.07e-4 on the way through ONNX; as for probabilities, a thousandth changes no answer."""


@dataclass(frozen=True)
class Agreement:
    """How nearly two networks answer alike.

    Attributes:
        same: bool [row], the same answer.
        ties: rows with another answer only because they lie on its very edge.
        largest: difference of any output, in units of the outputs' spread.
        worst: the row with that difference.
    """

    same: Array
    ties: int
    largest: float
    worst: int

    @property
    def holds(self) -> bool:
        """Every answer is the same, or on the edge, and no output differs by more than rounding."""
        return self.largest <= LARGEST and int((~self.same).sum()) == self.ties


def agreement(before: Array, after: Array, same: Array, margin: Array | None = None) -> Agreement:
    """Compare outputs [row, width].

    Args:
        same: bool [row], whether the decoded answers are equal.
        margin: [row], how far `before` is from the edge of another answer; rows within rounding of it are ties.
    """
    if not len(before):
        return Agreement(same, 0, 0.0, 0)
    # A spread of zero (every output alike) leaves their size as the only measure.
    spread = float(np.std(before)) or float(np.abs(before).max()) or 1.0
    difference = np.abs(after.astype(np.float64) - before).reshape(len(before), -1).max(axis=1) / spread
    worst = int(np.argmax(difference))
    ties = 0 if margin is None else int((~same & (margin <= LARGEST * spread)).sum())
    return Agreement(same, ties, float(difference[worst]), worst)
