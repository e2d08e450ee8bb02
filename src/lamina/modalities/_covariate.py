"""What is known besides a series: a column of numbers or categories beside the one that is forecast."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_of, read_numbers

Array = np.ndarray[Any, Any]

MOST_LEVELS = 32
UNREADABLE = 0.01
"""A column of numbers may hold such a share of other texts."""
WIDEST = 10.0


@dataclass(frozen=True)
class Covariate:
    """A column besides the target: a number, or a category with some levels.

    Attributes:
        known: in advance, for the steps to come.
        levels: of a category; a number has none.
        mean, spread: of a number, in the training part.
        decimal: "." or ",", as the training part writes a number.
    """

    name: str
    known: bool
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    spread: float = 1.0
    decimal: str = "."

    @property
    def columns(self) -> int:
        return max(len(self.levels), 1)

    def read(self, values: Values) -> Array:
        """float32 [row, column], NaN where a value is missing or unreadable; an unknown level is all zeros."""
        if not self.levels:
            numbers, _ = read_numbers(values, self.decimal)
            return np.clip((numbers - self.mean) / self.spread, -WIDEST, WIDEST)[:, None].astype(np.float32)
        texts = canonical(values)
        places = {level: place for place, level in enumerate(self.levels)}
        found = np.zeros((len(texts), len(self.levels)), np.float32)
        for row, text in enumerate(texts.tolist()):
            if text is None:
                found[row] = np.nan
            elif text in places:
                found[row, places[text]] = 1.0
        return found

    def values(self, array: Array) -> list[Any]:
        """The inverse of `read`, for values that are there."""
        if not self.levels:
            return [float(value) * self.spread + self.mean for value in array[:, 0]]
        return [self.levels[int(row.argmax())] if row.any() else "other" for row in array]

    @classmethod
    def fit(cls, name: str, known: bool, values: Values, wanted: bool = False) -> Self | None:
        """What training values say; None where they say nothing: one value only, or too many levels.

        Args:
            wanted: it is to be read even so: of many levels the commonest, if they come more than once.
        """
        texts = [text for text in canonical(values).tolist() if text is not None]
        decimal = decimal_of([values])
        numbers, errors = read_numbers(values, decimal)
        if len(errors) <= UNREADABLE * len(values) and len(np.unique(numbers[np.isfinite(numbers)])) > 1:
            mean, spread = float(np.nanmean(numbers)), float(np.nanstd(numbers))
            return cls(name, known, (), mean, spread or 1.0, decimal)
        counts = Counter(texts)
        levels = tuple(sorted(counts))
        if wanted and len(levels) > MOST_LEVELS:
            again = [level for level in levels if counts[level] > 1]
            levels = tuple(sorted(sorted(again, key=lambda level: -counts[level])[:MOST_LEVELS]))
        return cls(name, known, levels) if 2 <= len(levels) <= MOST_LEVELS else None
