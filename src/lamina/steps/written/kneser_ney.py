"""A model of n-grams with interpolated Kneser-Ney smoothing: what counting alone tells of the next token.

Kneser & Ney 1995, "Improved backing-off for m-gram language modeling", interpolated as in Chen & Goodman 1998, with one
discount for each order, n1 / (n1 + 2 * n2) (Ney et al. 1994). Of the longest n-grams it counts how often they occur, of
shorter ones how many different tokens stand before them. NumPy only: an n-gram is numbered by its history's number
and its last token, and its own number is the history of the next longer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, Any]

USUAL_ORDER = 4


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length.

    Attributes:
        keys: int64, sorted: number of the history times the vocabulary, plus the last token.
        counts: float64 [n-gram].
        totals, kinds: float64 [history]: the sum of counts, and how many tokens came after it.
        discount: what is taken from each count.
    """

    keys: Array
    counts: Array
    totals: Array
    kinds: Array
    discount: float

    def numbers(self, histories: Array, tokens: Array, vocabulary: int) -> Array:
        """int64: the number of each n-gram, -1 where it is unknown."""
        wanted = histories * vocabulary + tokens
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((histories >= 0) & (self.keys[place] == wanted), place, -1)

    def mixed(self, histories: Array, numbers: Array, shorter: Array) -> Array:
        """Probabilities from counts and from those of the next shorter n-grams."""
        known = (histories >= 0) & (self.totals[histories] > 0)
        place = np.where(known, histories, 0)
        total = np.where(known, self.totals[place], 1.0)
        own = np.where(numbers >= 0, np.maximum(self.counts[numbers] - self.discount, 0.0), 0.0)
        return np.where(known, (own + self.discount * self.kinds[place] * shorter) / total, shorter)


@dataclass(frozen=True)
class KneserNey:
    """Probabilities of the next token after the last `order - 1` ones."""

    orders: tuple[_Order, ...]
    vocabulary: int

    @classmethod
    def fit(cls, tokens: Array, vocabulary: int, order: int = USUAL_ORDER) -> Self:
        """Count the n-grams of up to `order` tokens in int [token]."""
        tokens = tokens.astype(np.int64)
        histories, places = np.zeros(len(tokens), np.int64), np.arange(len(tokens))
        keys, numbers, sizes = [], [], [1]
        for _ in range(order):
            found, which = np.unique(histories * vocabulary + tokens[places], return_inverse=True)
            keys.append(found)
            numbers.append(which)
            sizes.append(len(found))
            # What ends here is the history of what ends one place further on.
            histories, places = which[:-1], places[1:]
        orders = []
        for number in range(order):
            counts = _occurrences(numbers[number], sizes[number + 1])
            if number + 1 < order:
                # The last places of the first occurrences of longer n-grams: each is one token that stands before.
                _, first = np.unique(numbers[number + 1], return_index=True)
                counts = _occurrences(numbers[number][1:][first], sizes[number + 1])
            orders.append(_order(keys[number], counts, sizes[number], vocabulary))
        return cls(tuple(orders), vocabulary)

    def chances(self, tokens: Array) -> Array:
        """float64 [token]: the probability of every token, given those before it."""
        tokens = tokens.astype(np.int64)
        found = np.full(len(tokens), 1.0 / self.vocabulary)
        histories = np.zeros(len(tokens), np.int64)
        for order in self.orders:
            numbers = order.numbers(histories, tokens, self.vocabulary)
            found = order.mixed(histories, numbers, found)
            histories = np.concatenate([[-1], numbers[:-1]])
        return found


def _occurrences(numbers: Array, size: int) -> Array:
    return np.bincount(numbers, minlength=size).astype(np.float64)


def _order(keys: Array, counts: Array, histories: int, vocabulary: int) -> _Order:
    history = keys // vocabulary
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    # Where nothing occurs once, or all does, the formula has no sense; half a count is the usual discount.
    discount = once / (once + 2 * twice) if once and twice else 0.5
    totals = np.bincount(history, weights=counts, minlength=histories)
    kinds = np.bincount(history, weights=counts > 0, minlength=histories)
    return _Order(keys, counts, totals, kinds, discount)
